import { lstat, mkdtemp, readlink, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AgentConfig } from "../config/agents.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { shellQuoted } from "../text/text.ts";
import { type Bounds, boundLines, memoryBytes } from "./bounds.ts";
import { runCommand } from "./run.ts";

/*
 * The one sandbox for every program that symphony confines: bubblewrap with an allow-list of the
 * machine. @anthropic-ai/sandbox-runtime is not used: version 0.0.78 with its strictest settings
 * fails 3 of the 16 probes for programs (test/support/makers/hostile-probes.ts). It shares the IPC, UTS
 * and cgroup namespaces, its temporary folders have no limit, and files of root stay readable. It
 * also needs ripgrep and socat, and every connection passes through a proxy.
 */

export type Level = AgentConfig["level"];

/**
 * What a program in the sandbox sees of the machine, in addition to the system's directories. All
 * paths are canonical.
 */
export interface View {
  readonly level: Exclude<Level, "danger">;
  /** Writable and persistent. */
  readonly workspace: string;
  /** Inside the workspace. */
  readonly cwd: string;
  /** Empty, private and writable inside the sandbox, each with a limited size. */
  readonly homes: readonly string[];
  /** Covered everywhere inside a shown directory, unless `shown` names the same path. */
  readonly hidden: readonly string[];
  readonly shown: readonly Shown[];
  /** Names in the workspace that are empty inside. */
  readonly emptied: readonly string[];
  /**
   * Shell lines that start the one way out, after which the command runs: the sandbox then has a
   * network of its own at every level. Absent: none at `safe`, that of the machine at `networked`.
   */
  readonly relay?: string;
  /**
   * The command makes a sandbox of its own: inside, its user is not root, whose user namespaces the kernel refuses
   * without a capability (CAP_SETFCAP).
   */
  readonly nests?: boolean;
  /** Read-only in the workspace, where they exist; `guardedNames` if omitted. */
  readonly guarded?: readonly string[];
  /** What the command may use; absent: what its user may. */
  readonly bounds?: Bounds | undefined;
}

/**
 * A file or directory of the machine, and its path inside the sandbox. A path that does not exist
 * is skipped.
 */
export interface Shown {
  readonly from: string;
  readonly to: string;
  /** `link`: a symbolic link to `from`, which has to be shown separately. */
  readonly as: "readable" | "writable" | "link";
}

const systemDirs = [
  "/usr",
  "/bin",
  "/sbin",
  "/lib",
  "/lib32",
  "/lib64",
  "/libx32",
  "/etc",
  "/opt",
  "/nix",
];
/** Only root can read these, so they matter when the server runs as root. */
export const systemSecrets: readonly string[] = [
  "/etc/shadow",
  "/etc/shadow-",
  "/etc/gshadow",
  "/etc/gshadow-",
  "/etc/sudoers",
  "/etc/sudoers.d",
  "/etc/ssh",
  "/etc/ssl/private",
  "/etc/krb5.keytab",
  "/etc/letsencrypt",
  "/etc/wireguard",
  "/etc/kubernetes",
  "/etc/rancher",
  "/etc/NetworkManager/system-connections",
];
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
/** Services in /run that would act outside of the sandbox for any program that connects. */
export const serviceSockets: readonly string[] = [
  "/run/user",
  "/run/docker.sock",
  "/run/containerd",
  "/run/podman",
  "/run/dbus",
];
/**
 * Programs outside of the sandbox obey the content of these: read-only at the top of a workspace.
 */
export const guardedNames: readonly string[] = [".git", ".codex", ".agents"];
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
  const { workspace, level, hidden, relay, bounds } = view;
  const networked = level === "networked" && relay === undefined;
  const covers = await coversOf(view);
  const inside = await Promise.all(hidden.filter((path) => isInside(path, workspace)).map(coverAt));
  const all = [...covers, ...inside.flat()];
  return [
    ...["bwrap", "--die-with-parent", "--new-session", "--cap-drop", "ALL"],
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

const probes = new Map<string, Promise<void>>();

/**
 * Whether a program in the sandbox can make a sandbox of its own, with a /proc of its own, as codex does. Not where
 * the server runs as root: the kernel refuses that /proc, because bubblewrap covers files of the outer one. Never rejects.
 */
export async function canNest(env: NodeJS.ProcessEnv): Promise<boolean> {
  const path = env["PATH"] ?? "/usr/bin:/bin";
  const key = `nested ${path}`;
  const inner = "bwrap --unshare-user --unshare-pid --ro-bind / / --dev /dev --proc /proc".split(
    " ",
  );
  const probe = probes.get(key) ?? tryOut({ level: "networked", nests: true }, path, inner);
  probes.set(key, probe);
  return probe.then(
    () => true,
    () => probes.delete(key) && false,
  );
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
    throw new SymphonyError(
      "agent_unavailable",
      `agent.level ${level} runs programs in a sandbox, and bubblewrap does not work here: ${messageOf(error).slice(0, 300)}`,
      {
        hint: "install bubblewrap and allow user namespaces, or, where the machine itself is the sandbox: symphony config overlay set agent.level danger",
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

export function isInside(path: string, dir: string): boolean {
  return path === dir || path.startsWith(dir.endsWith("/") ? dir : `${dir}/`);
}

/** Whether every sandbox shows the path, if it exists on the system. */
export function isSystem(path: string): boolean {
  return systemDirs.some((dir) => isInside(path, dir));
}

async function systemMounts(): Promise<readonly string[]> {
  const mounts = await Promise.all(
    systemDirs.map(async (dir) => {
      const stats = await lstat(dir).catch(() => null);
      if (stats?.isSymbolicLink()) return ["--symlink", await readlink(dir), dir];
      return stats?.isDirectory() ? ["--ro-bind", dir, dir] : [];
    }),
  );
  const covers = await Promise.all(systemSecrets.map(coverAt));
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

async function guardedMounts({
  workspace,
  guarded = guardedNames,
}: View): Promise<readonly string[]> {
  const mounts = await Promise.all(
    guarded.map(async (name) => {
      const path = join(workspace, name);
      const stats = await lstat(path).catch(() => null);
      // Never through a link: the agent could choose its target.
      return stats?.isDirectory() || stats?.isFile() ? ["--ro-bind", path, path] : [];
    }),
  );
  return mounts.flat();
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
  const covered = hidden.filter(
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
