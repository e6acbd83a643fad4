import { faults, type Mutant } from "./mutant.ts";

const journal = "src/core/journal";
const tests = "test/core/journal";
const recorder = [`${tests}/recorder.test.ts`];
const day = [`${tests}/day.test.ts`];
const chain = "src/core/config/chain.ts";
const host = "src/core/host.ts";

/** Faults of the record of decisions, of workflow files that are based on others, and of the look at the host. */
export const ofTheRecord: readonly Mutant[] = [
  ...faults(
    { file: `${journal}/recorder.ts`, tests: recorder },
    [
      "record: a secret that is learned later begins no new segment",
      'if (open.secrets !== secrets) return "secret";',
      'if (open.secrets > secrets) return "secret";',
    ],
    [
      "record: a segment is never ended by a new day",
      'return next.context.wall - open.at >= dayMs ? "day" : null;',
      "return null;",
    ],
    [
      "record: decisions that a refused write lost are not counted",
      "    this.#lost += lost;",
      "    this.#lost += 0;",
    ],
  ),
  ...faults(
    { file: `${journal}/file.ts`, tests: recorder },
    [
      "record: what is older than it is kept stays",
      "    if (next === null) return false;",
      "    if (next !== null || before > 0) return false;",
    ],
    [
      "record: the oldest checkpoint is used for any moment",
      "ORDER BY input DESC, segment DESC LIMIT 1",
      "ORDER BY input, segment LIMIT 1",
    ],
  ),
  ...faults({ file: `${journal}/replay.ts`, tests: recorder }, [
    "record: an unchanged list is replayed as an empty one",
    ": candidates;\n    return { ...input, issues",
    ": [];\n    return { ...input, issues",
  ]),
  ...faults({ file: `${journal}/writer.ts`, tests: recorder }, [
    "record: decisions are written although others before them are missing",
    "return this.#last === null || this.#last.after === noted.before;",
    "return this.#last === null || noted.before !== undefined;",
  ]),
  ...faults({ file: `${journal}/writer.ts`, tests: day }, [
    "record: a checkpoint holds the state before its last decision",
    "? await this.#checkpoint(last.after,",
    "? await this.#checkpoint(last.before,",
  ]),
  ...faults(
    { file: chain, tests: ["test/core/config/chain.test.ts"] },
    [
      "chain: a circle of files is followed",
      "if (this.#seen.has(found.real))",
      "if (this.#seen.has(found.path.slice(1)))",
    ],
    [
      "chain: a file outside of the tree and the home is read",
      "if ([tree, ...homes].some((folder) => isInside(real, folder))) return",
      "if ([tree, ...homes].some((folder) => folder !== real)) return",
    ],
    [
      "chain: the farther prompt is used",
      "if (!prompts.has(state)) prompts.set(state, prompt);",
      "prompts.set(state, prompt);",
    ],
    [
      "chain: an edit of a file that it is based on is not noticed",
      "return digest(Buffer.from(JSON.stringify([...hashes])));",
      "return digest(Buffer.from(JSON.stringify([...hashes].slice(0, 1))));",
    ],
  ),
  ...faults(
    { file: host, tests: ["test/core/host.test.ts"] },
    [
      "host: the gate flaps at its limit",
      "if (has < minimum * (wasShort(name) ? better : 1))",
      "if (has < minimum * (wasShort(name) ? 1 : 1))",
    ],
    [
      "host: an unchanged answer is reported again",
      "if (namesOf(before) === namesOf(this.#short)) return;",
      "if (namesOf(before) === namesOf(this.#short).slice(1)) return;",
    ],
    [
      "host: a load limit of 0 stops everything",
      "if (load !== null && maxLoad > 0) {",
      "if (load !== null && maxLoad >= 0) {",
    ],
  ),
];
