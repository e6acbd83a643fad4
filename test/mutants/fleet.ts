import { faults, type Mutant } from "./mutant.ts";

const tests = ["test/core/fleet/simulation.test.ts"];

/** Faults of leases and placement, which the simulated fleet must find. */
export const ofTheFleet: readonly Mutant[] = [
  ...faults(
    { file: "src/core/fleet/judging.ts", tests },
    [
      "4: a worker runs agents until the end of its lease, without a margin",
      "this.#at = from + Math.min(leaseMs, leadMs) - marginMs;",
      "this.#at = from + Math.min(leaseMs, leadMs) + marginMs;",
    ],
    [
      "9: a lease that the engine has lost counts as over at once",
      'now - lastBeatAt >= leaseMs ? { gone: "was lost", died: true } : {}',
      '{ gone: "was lost", died: true }',
    ],
    [
      "28: a server places at once what may still run for its predecessor",
      "  return sightings.every((one) => one?.presence?.epoch === String(epoch));",
      "  return true;",
    ],
    [
      "9: a worker whose lease has vanished from the engine runs its agents on",
      'if (answer === "no lead") return "wait";',
      'if (answer === "no lead" || answer === "gone") return { leadMs: 60_000 };',
    ],
  ),
  ...faults({ file: "src/core/fleet/judging.ts", tests: ["test/core/fleet/parts.test.ts"] }, [
    "an attempt is lost at the first beat without it, before its last word is read",
    "if (wasSeen && (missedAt === null || beat === missedAt)) return { missedAt: beat };",
    "",
  ]),
  ...faults({ file: "src/core/orchestrator/losses.ts", tests }, [
    "16: an attempt that kills its worker goes round the fleet",
    "if (names.length < maxWorkers && losses.length < maxDeaths) return null;",
    "if (losses.length < 1_000) return null;",
  ]),
];
