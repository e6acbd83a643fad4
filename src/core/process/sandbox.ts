import { lstat, mkdtemp, readlink, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { shellQuoted } from "../text/text.ts";
import { boundLines, memoryBytes } from "./bounds.ts";
import { aboveGuarded, guardedIn } from "./guarded.ts";
import { opensFilter, readsFilter } from "./kernel-calls.ts";
import { runCommand } from "./run.ts";
import { seatbeltArgs } from "./seatbelt.ts";
import { socketsIn } from "./sockets.ts";
import { systemSecretsHere } from "./system-secrets.ts";
import { isInside, isSystem, systemDirs, type View } from "./view.ts";

/*
 * The one sandbox for every program that symphony confines: an allow-list of the machine, held by bubblewrap, and on
 * macOS by Seatbelt. @anthropic-ai/sandbox-runtime is not used: version 0.0.78 with its strictest settings
 * fails 3 of the 16 probes for programs (test/support/makers/hostile-probes.ts). It shares the IPC, UTS
 * and cgroup namespaces, its temporary folders have no limit, and files of root stay readable. It
 * also needs ripgrep and socat, and every connection passes through a proxy.
 */

/**
 * Files of /etc that some distributions store in another place: the root certificates and the time
 * zone.
 */
const relocatedFiles = [
  "/etc/ssl/certs",
  "/etc/ssl/cert.pem",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/localtime",
  "/etc/hosts",
];
const isMac = process.platform === "darwin";
const nestedId = "1000";
const maxScratchBytes = 512 * 1024 * 1024;
/**
 * Each of the four or five temporary file systems may use this fraction of the memory, where its
 * content is stored.
 */
const scratchShare = 16;
const probeTimeoutMs = 10_000;

/**
 * The arguments in front of a command. Must be requested before each start: the workspace may have
 * changed since the last one.
 */
export async function sandboxArgs(view: View): Promise<readonly string[]> {
  if (isMac) return seatbeltArgs(view);
  const { workspace, level, hidden, relay, bounds } = view;
  const networked = level === "networked" && relay === undefined;
  const covers = await coversOf(view);
  const inside = await Promise.all(hidden.filter((path) => isInside(path, workspace)).map(coverAt));
  const all = [...covers, ...inside.flat()];
  return [
    ...[...opensFilter, "bwrap", ...readsFilter],
    ...["--die-with-parent", "--new-session", "--cap-drop", "ALL"],
    // The first flag alone continues without a user namespace when none can be created.
    ...["--unshare-all", "--unshare-user", ...(networked ? ["--share-net"] : [])],
    ...(view.nests ? ["--uid", nestedId, "--gid", nestedId] : []),
    ...(await systemMounts()),
    ...["--proc", "/proc", "--dev", "/dev"],
    ...["/dev/shm", "/tmp", "/var/tmp"].flatMap(scratch),
    ...["--dir", "/run"],
    ...(await linkedFiles(networked ? ["/etc/resolv.conf", ...relocatedFiles] : relocatedFiles)),
    ...inLayers(view, covers),
    ...["--bind", workspace, workspace],
    ...(await guardedMounts(view)),
    ...inside.flat().flatMap(({ args }) => args),
    ...(await emptiedMounts(view)),
    // At the end, because mounts inside these directories need to create their mount points.
    ...all.filter(({ isDirectory }) => isDirectory).flatMap(({ at }) => ["--remount-ro", at]),
    ...["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", view.cwd, "--"],
    ...startedBy([
      ...(bounds ? boundLines(bounds, true) : []),
      ...(relay === undefined ? [] : [relay]),
    ]),
  ];
}

/** Words in front of a command: a shell that runs the lines and becomes the command. */
export function startedBy(lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [] : ["bash", "-c", [...lines, 'exec "$@"'].join("\n"), "bash"];
}

/** A shell line that runs `line` inside. */
export async function sandboxLine(line: string, view: View): Promise<string> {
  const words = [...(await sandboxArgs(view)), "bash", "-c", line];
  return `exec ${words.map(shellQuoted).join(" ")}`;
}

/**
 * A shell line that runs `line` in `cwd` with everything of the machine as it is, except that `hidden` directories hold
 * nothing but what is kept of them. A program in it can make a sandbox of its own where `canNest` says so.
 */
export function hidingLine(
  line: string,
  {
    cwd,
    hidden,
    writable,
    readable,
  }: Readonly<Record<"hidden" | "writable" | "readable", readonly string[]>> & {
    readonly cwd: string;
  },
): string {
  const args = [
    ...["bwrap", "--die-with-parent", "--unshare-user", "--uid", nestedId, "--gid", nestedId],
    ...["--dev-bind", "/", "/"],
    ...hidden.flatMap((path) => ["--size", "4096", "--tmpfs", path]),
    ...writable.flatMap((path) => ["--bind", path, path]),
    ...readable.flatMap((path) => ["--ro-bind-try", path, path]),
    ...hidden.flatMap((path) => ["--remount-ro", path]),
    ...["--chdir", cwd, "--", "bash", "-c", line],
  ];
  return `exec ${args.map(shellQuoted).join(" ")}`;
}

const probes = new Map<string, Promise<void>>();

/** The /proc of a sandbox inside of the sandbox: its own, or that of the outer one. */
export type Nesting = "own /proc" | "outer /proc";

/**
 * Whether a program in the sandbox can make a sandbox of its own, as codex does; null: no. Where the server runs as root,
 * that one cannot have its own /proc: bubblewrap covers what root could write in the outer one (/proc/sys), and the kernel
 * allows a new /proc only where the existing one is whole (mount_too_revealing in its fs/namespace.c). Not on macOS:
 * a program in Seatbelt cannot enter a second profile (`man 3 sandbox_init`). Never rejects.
 */
export async function canNest(env: NodeJS.ProcessEnv): Promise<Nesting | null> {
  if (isMac) return null;
  const path = env["PATH"] ?? "/usr/bin:/bin";
  const found = nestings.get(path) ?? nestingOn(path);
  nestings.set(path, found);
  const nesting = await found;
  if (nesting === null) nestings.delete(path);
  return nesting;
}

const nestings = new Map<string, Promise<Nesting | null>>();

async function nestingOn(path: string): Promise<Nesting | null> {
  const inner = "bwrap --unshare-user --unshare-pid --ro-bind / / --dev /dev".split(" ");
  const works = (line: readonly string[]) =>
    tryOut({ level: "networked", nests: true }, path, line).then(
      () => true,
      () => false,
    );
  if (await works([...inner, "--proc", "/proc"])) return "own /proc";
  return (await works(inner)) ? "outer /proc" : null;
}

/**
 * Rejects with `agent_unavailable` when the sandbox of the level does not work: no program runs
 * without the requested sandbox. A success is remembered; a failure is not, because the missing
 * program may be installed later.
 */
export async function probeSandbox(level: View["level"], env: NodeJS.ProcessEnv): Promise<void> {
  const path = env["PATH"] ?? "/usr/bin:/bin";
  const key = `${level} ${path}`;
  const probe = probes.get(key) ?? tryOut({ level }, path);
  probes.set(key, probe);
  try {
    await probe;
  } catch (error) {
    probes.delete(key);
    const [program, mend] = isMac
      ? ["sandbox-exec", "start symphony outside of every other sandbox"]
      : ["bubblewrap", "install bubblewrap and allow user namespaces"];
    throw new SymphonyError(
      "agent_unavailable",
      `agent.level ${level} runs programs in a sandbox, and ${program} does not work here: ${messageOf(error).slice(0, 300)}`,
      {
        hint: `${mend}, or, where the machine itself is the sandbox: symphony config overlay set agent.level danger`,
      },
    );
  }
}

async function tryOut(
  how: Pick<View, "level" | "nests">,
  path: string,
  inner: readonly string[] = [],
): Promise<void> {
  const workspace = await realpath(await mkdtemp(join(tmpdir(), "symphony-probe-")));
  try {
    const nothing = { homes: [], hidden: [], shown: [], emptied: [] };
    const args = await sandboxArgs({ ...how, workspace, cwd: workspace, ...nothing });
    const { exitCode, output } = await runCommand({
      argv: [...args, ...inner, "bash", "-c", "echo works"],
      cwd: workspace,
      env: { PATH: path },
      timeoutMs: probeTimeoutMs,
      outputBytes: 2_000,
    });
    if (exitCode !== 0 || output.trim() !== "works") throw new Error(output.trim() || "it failed");
  } finally {
    await rm(workspace, { recursive: true, force: true });
  }
}

async function systemMounts(): Promise<readonly string[]> {
  const mounts = await Promise.all(
    systemDirs.map(async (dir) => {
      const stats = await lstat(dir).catch(() => null);
      if (stats?.isSymbolicLink()) return ["--symlink", await readlink(dir), dir];
      return stats?.isDirectory() ? ["--ro-bind", dir, dir] : [];
    }),
  );
  // A known secret in a closed directory is covered with it.
  const secrets = await systemSecretsHere();
  const outer = secrets.filter((one) => !secrets.some((dir) => dir !== one && isInside(one, dir)));
  const covers = await Promise.all(outer.map(coverAt));
  return [
    ...mounts.flat(),
    ...covers.flat().flatMap(({ at, args, isDirectory }) => {
      return isDirectory ? [...args, "--remount-ro", at] : args;
    }),
  ];
}

/**
 * `/etc/resolv.conf`, for example, is often a link into `/run`, which is empty inside the sandbox.
 */
async function linkedFiles(paths: readonly string[]): Promise<readonly string[]> {
  const real = await Promise.all(paths.map((path) => realpath(path).catch(() => null)));
  const outside = real.filter((path) => path !== null).filter((path) => !isSystem(path));
  return [...new Set(outside)].flatMap((path) => ["--ro-bind-try", path, path]);
}

async function guardedMounts({ workspace, guarded }: View): Promise<readonly string[]> {
  const paths = await guardedIn(workspace, guarded);
  return [
    // What is mounted cannot be renamed.
    ...aboveGuarded(workspace, paths).flatMap((dir) => ["--bind", dir, dir]),
    ...paths.flatMap((path) => ["--ro-bind", path, path]),
  ];
}

/** These are read-only too. */
async function emptiedMounts({ workspace, emptied }: View): Promise<readonly string[]> {
  const covers = await Promise.all(emptied.map((name) => coverAt(join(workspace, name))));
  return covers.flat().flatMap(({ at, args, isDirectory }) => {
    return isDirectory ? [...args, "--remount-ro", at] : args;
  });
}

interface Cover {
  readonly at: string;
  readonly args: readonly string[];
  readonly isDirectory: boolean;
}

/**
 * Empty when the path does not exist or is a link: the target of a link is covered by its own path.
 */
async function coverAt(path: string): Promise<readonly Cover[]> {
  const stats = await lstat(path).catch(() => null);
  if (stats === null || stats.isSymbolicLink()) return [];
  const isDirectory = stats.isDirectory();
  const args = isDirectory ? ["--size", "4096", "--tmpfs", path] : ["--ro-bind", "/dev/null", path];
  return [{ at: path, args, isDirectory }];
}

/** Covers only what is shown around the workspace. */
async function coversOf({ workspace, hidden, shown }: View): Promise<readonly Cover[]> {
  const named = new Set(shown.map(({ from }) => from));
  const seen = [...systemDirs, ...named];
  // Where the agent may write, a cover would leave a file at the place of a socket.
  const fixed = shown.filter(({ as }) => as !== "writable").map(({ from }) => from);
  const sockets = await socketsIn([...systemDirs, ...fixed]);
  const covered = [...hidden, ...sockets].filter(
    (path) =>
      !named.has(path) && !isInside(path, workspace) && seen.some((dir) => isInside(path, dir)),
  );
  return (await Promise.all([...new Set(covered)].map(coverAt))).flat();
}

function scratch(dir: string): readonly string[] {
  const bytes = Math.min(maxScratchBytes, Math.floor(memoryBytes() / scratchShare));
  return ["--size", String(bytes), "--tmpfs", dir];
}

const bindings = { readable: "--ro-bind-try", writable: "--bind-try", link: "--symlink" } as const;

/**
 * A shown path may be inside a hidden one, or a hidden path inside a shown one: outer paths are
 * mounted before inner ones.
 */
function inLayers({ homes, shown }: View, covers: readonly Cover[]): readonly string[] {
  const layers = [
    ...homes.map((at) => ({ at, args: scratch(at) })),
    ...covers,
    ...shown.map(({ from, to, as }) => ({ at: to, args: [bindings[as], from, to] })),
  ];
  return layers.toSorted((a, b) => a.at.length - b.at.length).flatMap(({ args }) => args);
}
