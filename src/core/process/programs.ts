import { lstat, open, readdir, readlink, realpath } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { isInside, isSystem, type Shown } from "./view.ts";

/*
 * Finds what installed programs need to start in a sandbox that shows only the system's
 * directories: the directories of PATH, the targets of the links in them, and the parts of each
 * installation that hold programs.
 */

const programDirs = ["bin", "sbin", "libexec", "shims"];
/**
 * Directories next to a program directory that belong to its programs; `etc` or `.env`, for
 * example, do not.
 */
const programParts = [
  ...["bin", "sbin", "lib", "lib32", "lib64", "libexec", "share", "pyvenv.cfg"],
  // Version managers: pyenv and tools like it, asdf, mise.
  ...["shims", "versions", "installs", "plugins", "version"],
];
/** Homebrew links its libraries and its root certificates through these. */
const homebrewParts = [...programParts, "opt", "Cellar", "etc"];
const maxEntries = 1_000;
/**
 * Limit for the directories of PATH. A much longer list would not fit into the line that starts the
 * sandbox: Linux allows 128 KiB for one argument.
 */
const maxPlaces = 150;
const maxHops = 10;
const anyMayRun = 0o111;
const shebangBytes = 256;

export interface ProgramsOptions {
  /** The PATH that the programs will have. */
  readonly path: string;
  /**
   * Absolute paths of programs, scripts and other files that a command names. Directories among
   * them are not shown.
   */
  readonly files: readonly string[];
  readonly homes: readonly string[];
  /** Neither these paths nor a directory that holds one of them is shown. */
  readonly hidden: readonly string[];
}

/**
 * The paths of installed programs, all readable; those inside the system's directories are left
 * out.
 */
export async function installedPrograms(options: ProgramsOptions): Promise<readonly Shown[]> {
  const found = new Found(options);
  const dirs = options.path.split(":").filter((dir) => dir.startsWith("/"));
  for (const dir of new Set(dirs.map((dir) => resolve(dir)))) await found.directory(dir);
  for (const file of options.files) await found.program(resolve(file), "named");
  return found.places();
}

class Found {
  readonly #options: ProgramsOptions;
  readonly #shown = new Map<string, Shown>();
  readonly #seen = new Set<string>();
  readonly #prefixes = new Set<string>();

  constructor(options: ProgramsOptions) {
    this.#options = options;
  }

  /** Adds a directory of PATH, and the programs that its links point to. */
  async directory(dir: string): Promise<void> {
    const real = await realpath(dir).catch(() => null);
    if (real === null || isSystem(dir)) return;
    this.#link(dir, real);
    if (isSystem(real) || !this.#mayShow(real)) return;
    this.#show(real);
    await this.#installation(real);
    const names: readonly string[] = await readdir(real).catch(() => []);
    for (const name of names.slice(0, maxEntries)) {
      if (this.#shown.size < maxPlaces) await this.program(join(real, name), "on PATH");
    }
  }

  /** Adds a file, the targets of its links, and the interpreter that its first line names. */
  async program(path: string, why: "named" | "on PATH", hops = 0): Promise<void> {
    if (hops > maxHops || isSystem(path) || this.#seen.has(path)) return;
    this.#seen.add(path);
    const parent = await realpath(dirname(path)).catch(() => null);
    if (parent === null) return;
    const file = join(parent, basename(path));
    if (file !== path) {
      this.#link(path, file);
      return this.program(file, why, hops + 1);
    }
    const stats = await lstat(file).catch(() => null);
    if (stats?.isSymbolicLink()) {
      const target = resolve(parent, await readlink(file));
      this.#link(file, target);
      return this.program(target, why, hops + 1);
    }
    // A script that a line passes to its interpreter need not be executable itself.
    const runs = why === "named" || ((stats?.mode ?? 0) & anyMayRun) !== 0;
    if (!stats?.isFile() || !runs || !this.#mayShow(file)) return;
    this.#show(file);
    await this.#package(file);
    await this.#installation(parent);
    const interpreter = await interpreterOf(file);
    if (interpreter !== null) await this.program(interpreter, why, hops + 1);
  }

  /** Outer directories come before inner ones; a path inside a shown directory is left out. */
  places(): readonly Shown[] {
    const all = [...this.#shown.values()].toSorted((a, b) => a.to.length - b.to.length);
    const outer: Shown[] = [];
    for (const place of all) {
      if (!outer.some(({ to }) => isInside(place.to, to))) outer.push(place);
    }
    return outer;
  }

  /** npm searches all parent directories for the packages that a package needs. */
  async #package(file: string): Promise<void> {
    const at = file.indexOf("/node_modules/");
    if (at === -1) return;
    const packages = file.slice(0, at + "/node_modules".length);
    if (this.#mayShow(packages)) this.#show(packages);
  }

  async #installation(dir: string): Promise<void> {
    const prefix = dirname(dir);
    const isRoot = prefix === "/" || this.#options.homes.includes(prefix);
    if (isRoot || !programDirs.includes(basename(dir))) return;
    if (this.#prefixes.has(prefix)) return;
    this.#prefixes.add(prefix);
    const names: readonly string[] = await readdir(prefix).catch(() => []);
    const parts = names.includes("Cellar") ? homebrewParts : programParts;
    for (const part of parts) {
      // Programs of every kind keep data in ~/.local/share, logins included.
      if (part === "share" && basename(prefix) === ".local") continue;
      const path = join(prefix, part);
      if (names.includes(part) && this.#mayShow(path)) this.#show(path);
    }
  }

  #show(path: string): void {
    if (!this.#isShown(path)) this.#shown.set(path, { from: path, to: path, as: "readable" });
  }

  #link(at: string, to: string): void {
    if (at === to || !this.#mayShow(at) || this.#isShown(at)) return;
    this.#shown.set(at, { from: to, to: at, as: "link" });
  }

  #isShown(path: string): boolean {
    return this.#shown.values().some(({ to }) => isInside(path, to));
  }

  #mayShow(path: string): boolean {
    const { homes, hidden } = this.#options;
    if (path === "/" || hidden.some((one) => isInside(path, one) || isInside(one, path)))
      return false;
    return !homes.some((home) => isInside(home, path));
  }
}

/** The absolute path in a `#!` line; null when it is in a system directory. */
async function interpreterOf(file: string): Promise<string | null> {
  const handle = await open(file).catch(() => null);
  if (handle === null) return null;
  await using reading = handle;
  const { buffer, bytesRead } = await reading.read(Buffer.alloc(shebangBytes), 0, shebangBytes, 0);
  const [, path] = /^#!\s*(\/\S+)/.exec(buffer.toString("utf8", 0, bytesRead)) ?? [];
  // The program that `env` starts is on PATH.
  return path === undefined || isSystem(path) ? null : path;
}
