import type { Clock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import { freeWanted, type HostLimits } from "./config/host.ts";
import type { CoreDeps, CoreOptions } from "./core.ts";
import type { HostTrouble } from "./model/gates.ts";
import { type HostPlaces, type HostSample, sampleHost } from "./process/host.ts";
import { sizeText } from "./text/text.ts";

const intervalMs = 10_000;
/** What is short must be this much better before work starts again, so that the gate does not flap. */
const better = 1.25;

export interface HostDeps {
  readonly clock: Clock;
  limits(): HostLimits;
  places(): HostPlaces;
  /** Called when the answer changes. */
  changed(trouble: HostTrouble | null): void;
  readonly sample?: typeof sampleHost;
}

/** Looks regularly at what the host has left. Only a changed answer is reported. */
export class HostWatch {
  readonly #deps: HostDeps;
  #short: readonly Shortage[] = [];
  #sinceWall = 0;
  #cancel = () => {};
  #isClosed = false;

  constructor(deps: HostDeps) {
    this.#deps = deps;
  }

  /** Looks now, and from now on. Never rejects. */
  async start(): Promise<void> {
    await this.look();
    if (!this.#isClosed) this.#cancel = this.#deps.clock.after(intervalMs, () => void this.start());
  }

  async look(): Promise<void> {
    const { clock, sample = sampleHost } = this.#deps;
    const found = await sample(this.#deps.places());
    if (this.#isClosed) return;
    const before = this.#short;
    this.#short = shortagesOf(found, this.#deps.limits(), before);
    if (namesOf(before) === namesOf(this.#short)) return;
    if (before.length === 0) this.#sinceWall = clock.wall();
    this.#deps.changed(troubleOf(this.#short, this.#sinceWall));
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }
}

/** What of the host's disks work needs: those of the data directory and the workspaces, which must take files where agents work here. */
export function hostPlaces({ workspace, fleet, worker }: Config, dataDir: string): HostPlaces {
  const isHere = fleet.url === null && worker.sshHosts.length === 0;
  return { paths: [dataDir, workspace.root], written: isHere ? workspace.root : null };
}

/** Looks at the disks of the data directory and the workspaces. */
export function openHost(
  { clock, dataDir }: CoreOptions,
  { config, orchestrator }: CoreDeps,
): HostWatch {
  const current = () => config.current.config;
  return new HostWatch({
    clock,
    limits: () => current().host,
    places: () => hostPlaces(current(), dataDir),
    changed: (trouble) => orchestrator().post({ type: "host.changed", trouble }),
  });
}

/** Something of which the host has too little, or too much, or no place at all. */
export interface Shortage {
  readonly name: string;
  readonly text: string;
}

/** What is short now; what was short before stays so until it is clearly better. Pure. */
export function shortagesOf(
  { memory, load, disks, refusal }: HostSample,
  limits: HostLimits,
  before: readonly Shortage[],
): readonly Shortage[] {
  const wasShort = (name: string) => before.some((one) => one.name === name);
  const all: Shortage[] = [];
  if (refusal !== null)
    all.push({ name: "place", text: `no place for workspaces: ${refusal} (workspace.root)` });
  const atLeast = (name: string, has: number, minimum: number, text: string) => {
    if (has < minimum * (wasShort(name) ? better : 1)) all.push({ name, text });
  };
  const { minFree, minMemoryBytes, maxLoad } = limits;
  for (const { path, freeBytes, totalBytes } of disks) {
    const minimum = freeWanted(minFree, totalBytes);
    const text = `${sizeText(freeBytes)} free on the disk of ${path}, at least ${sizeText(minimum)} (storage.min_free)`;
    atLeast(`disk ${path}`, freeBytes, minimum, text);
  }
  if (memory !== null) {
    const { availableBytes } = memory;
    const text = `${sizeText(availableBytes)} of memory available, at least ${sizeText(minMemoryBytes)} (host.min_memory)`;
    atLeast("memory", availableBytes, minMemoryBytes, text);
  }
  if (load !== null && maxLoad > 0) {
    const maximum = wasShort("load") ? maxLoad / better : maxLoad;
    const text = `load ${load.toFixed(1)} for each CPU, at most ${maxLoad} (host.max_load)`;
    if (load > maximum) all.push({ name: "load", text });
  }
  return all;
}

/** As the gate shows it; null: nothing is short. */
export function troubleOf(short: readonly Shortage[], sinceWall: number): HostTrouble | null {
  if (short.length === 0) return null;
  return { detail: `the host is short: ${short.map(({ text }) => text).join("; ")}`, sinceWall };
}

function namesOf(short: readonly Shortage[]): string {
  return JSON.stringify(short.map(({ name }) => name));
}
