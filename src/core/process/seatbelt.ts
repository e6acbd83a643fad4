import { lstat, realpath } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { boundLines } from "./bounds.ts";
import { guardedIn } from "./guarded.ts";
import { asNamed, isInside, systemDirs, systemSecrets, type View } from "./view.ts";

/*
 * The sandbox of macOS: Seatbelt, by `sandbox-exec` and a profile that is written for each start. It has no
 * mounts, so what bubblewrap replaces is refused here: HOME and TMPDIR are a new directory outside of both, with links
 * to what is shown of the home. Its rules are those of Apple's own profiles (/System/Library/Sandbox/Profiles) and of
 * codex (codex-rs/sandboxing). A rule is about the path that the kernel resolved; the last one that matches decides.
 */

/** How the directories begin in which confined programs have their home; the process id of their shell follows. */
export const boxPrefix = "symphony-box-";

const read = "file-read* file-test-existence";
/** Also what is needed to run a file and to load it into a program. */
const use = `${read} file-map-executable process-exec`;

/** What any program needs to start: no service that acts for it, no keychain, no preferences. */
const base = `(version 1)
(deny default)
(allow process-fork)
(allow signal process-info* (target same-sandbox))
(allow sysctl-read)
(allow sysctl-write (sysctl-name "kern.grade_cputype" "kern.tcsm_enable"))
(allow mach-host* ipc-posix-sem pseudo-tty)
(allow mach-lookup (global-name "com.apple.system.opendirectoryd.libinfo" "com.apple.system.logger"))
(allow ${read} (literal "/") (literal "/dev") (literal "/dev/random") (literal "/dev/urandom"))
(allow file-read-metadata file-test-existence (literal "/etc") (literal "/tmp") (literal "/var") (literal "/private"))
(allow ${read} file-write-data (literal "/dev/null") (literal "/dev/zero") (subpath "/dev/fd"))
(allow ${read} file-write* file-ioctl (literal "/dev/ptmx") (regex "^/dev/ttys[0-9]+$"))
(allow ${read} file-write-data file-ioctl (literal "/dev/dtracehelper"))`;

/** The machine's network, with the services that look up names and check certificates. */
const network = `(allow system-socket)
(allow network-outbound (remote ip "*:*") (literal "/private/var/run/mDNSResponder"))
(allow network-bind network-inbound (local ip "*:*"))
(allow ${read} (literal "/private/var/run/resolv.conf"))
(allow mach-lookup (global-name "com.apple.trustd" "com.apple.trustd.agent" "com.apple.ocspd" "com.apple.networkd" "com.apple.SystemConfiguration.DNSConfiguration" "com.apple.SystemConfiguration.configd"))`;

/** Files in directories of `systemSecrets` that programs of Homebrew do not work without. */
const reopened = ["/opt/homebrew/etc", "/usr/local/etc"].flatMap((dir) =>
  ["openssl@3", "ca-certificates", "gitconfig"].map((name) => join(dir, name)),
);

/**
 * Makes the home, starts the program in the profile, and removes the home. Signals reach the whole group, so this shell
 * waits for the program.
 */
const script = `profile=$1 base=$2 cwd=$3 home=$4 count=$5; shift 5
dir=$(mktemp -d "$base/${boxPrefix}$$-XXXXXX") && mkdir "$dir/home" "$dir/tmp" || exit 71
trap 'rm -rf "$dir"' EXIT; trap : HUP INT TERM
while [ "$count" -gt 0 ]; do mkdir -p "$(dirname "$dir/home/$1")" && ln -s "$2" "$dir/home/$1"; shift 2; count=$((count - 1)); done
cd "$cwd" && HOME="\${home:-$dir/home}" TMPDIR="$dir/tmp" sandbox-exec -p "$profile" -D "BOX=$dir" "$@"`;

/** The words in front of a command. Must be requested before each start: the workspace may have changed since the last one. */
export async function seatbeltArgs(view: View): Promise<readonly string[]> {
  const { homes, shown, bounds, cwd } = view;
  const isShown = (home: string) => shown.some(({ to }) => asNamed(to) === asNamed(home));
  const kept = homes.find(isShown) ?? "";
  const links = kept === "" ? linksInHome(view) : [];
  const lines = [...(bounds ? boundLines(bounds) : []), script].join("\n");
  const parameters = [await profileOf(view), await realpath(tmpdir()), cwd, kept];
  return ["bash", "-c", lines, "bash", ...parameters, String(links.length), ...links.flat()];
}

/** What is shown of the home, by its name in there: the outermost of each place. */
function linksInHome({ homes, shown }: View): readonly (readonly [string, string])[] {
  const places = [...new Set(shown.map(({ to }) => to))];
  const outer = places.filter((to) => !places.some((dir) => dir !== to && isInside(to, dir)));
  return outer.flatMap((to) => {
    const home = homes.find((dir) => isInside(to, dir));
    return home === undefined ? [] : [[relative(home, to), to] as const];
  });
}

/** The rules for a view, as text that `sandbox-exec -p` takes; the parameter BOX is the program's directory. */
export async function profileOf(view: View): Promise<string> {
  const { workspace, shown, hidden, level, port } = view;
  const named = new Set(shown.map(({ from }) => from));
  const inside = hidden.filter((path) => isInside(path, workspace) && !named.has(path));
  const guarded = await guardedIn(workspace, view.guarded);
  const emptied = await there(workspace, view.emptied);
  const roots = [workspace, ...shown.flatMap(({ as, from }) => (as === "writable" ? from : []))];
  const closed = [...guarded, ...emptied, ...hidden.filter((path) => !named.has(path))];
  return [
    base,
    `(allow ${use} ${all(systemDirs)})`,
    `(deny file-read* file-write* ${all(systemSecrets)})`,
    `(allow ${read} ${all(reopened)})`,
    `(allow file-read-metadata file-test-existence ${ancestorsOf(view)})`,
    ...(port === undefined ? [] : [`(allow network-outbound (remote ip "localhost:${port}"))`]),
    ...(level === "networked" && port === undefined ? [network] : []),
    "(allow system-socket (socket-domain AF_UNIX))",
    ...inLayers(view, named, await socketsOf(view)),
    ...opened(`(subpath ${quoted(workspace)})`, "writable"),
    ...inside.flatMap(shut),
    ...guarded.map((path) => `(deny file-write* ${anyCase(path, workspace)})`),
    ...emptied.map((path) => `(deny file-read* file-write* ${anyCase(path, workspace)})`),
    // A rule is about a path: what is closed must not get another one by a directory above it that is renamed.
    `(deny file-write-unlink ${pinned(roots, closed)})`,
    ...opened('(subpath (param "BOX"))', "writable"),
  ].join("\n");
}

/** Outer places before inner ones, because the last rule decides: a home or a login may be inside of what is shown. */
function inLayers(
  { homes, hidden, shown }: View,
  named: ReadonlySet<string>,
  sockets: readonly string[],
): readonly string[] {
  const layers = [
    ...[...homes, ...hidden.filter((path) => !named.has(path))].map((at) => ({
      at,
      rules: shut(at),
    })),
    ...shown.map(({ from, to, as }) => ({
      at: as === "link" ? to : from,
      rules:
        as === "link"
          ? [`(allow ${read} (literal ${quoted(to)}))`]
          : opened(`(subpath ${quoted(from)})`, as),
    })),
    ...sockets.map((at) => ({ at, rules: [connected(`(literal ${quoted(at)})`)] })),
  ];
  return layers.toSorted((a, b) => a.at.length - b.at.length).flatMap(({ rules }) => rules);
}

/** The sockets that are named themselves: one that another program has in a readable directory is not reached. */
async function socketsOf({ shown }: View): Promise<readonly string[]> {
  const found = shown.map(async ({ from }) => {
    const stats = await lstat(from).catch(() => null);
    return stats?.isSocket() ? [from] : [];
  });
  return (await Promise.all(found)).flat();
}

function opened(filter: string, as: "readable" | "writable"): readonly string[] {
  // It may be inside of what can be written.
  if (as === "readable") return [`(allow ${use} ${filter})`, `(deny file-write* ${filter})`];
  const bound = `(allow network-bind (local unix-socket ${filter}))`;
  return [`(allow ${use} file-write* ${filter})`, connected(filter), bound];
}

function connected(filter: string): string {
  return `(allow network-outbound (remote unix-socket ${filter}))`;
}

function shut(path: string): readonly string[] {
  const filter = `(subpath ${quoted(path)})`;
  return [
    `(deny file-read* file-write* process-exec ${filter})`,
    `(deny network-outbound (remote unix-socket ${filter}))`,
  ];
}

/** Those of a workspace's names that exist and are no links: the agent could choose the target of a link. */
async function there(workspace: string, names: readonly string[]): Promise<readonly string[]> {
  const found = names.map(async (name) => {
    const path = join(workspace, name);
    const stats = await lstat(path).catch(() => null);
    return stats === null || stats.isSymbolicLink() ? [] : [path];
  });
  return (await Promise.all(found)).flat();
}

/** Directories above what is shown can be passed, and tell that they exist, but not what is in them. */
function ancestorsOf({ workspace, shown }: View): string {
  const above = new Set<string>();
  for (const path of [workspace, ...shown.flatMap(({ from, to }) => [from, to])])
    for (let dir = dirname(path); dir !== dirname(dir); dir = dirname(dir)) above.add(dir);
  return [...above, "/private/var/folders"].map((dir) => `(literal ${quoted(dir)})`).join(" ");
}

/** The roots that can be written, and in them the directories above what is closed. */
function pinned(roots: readonly string[], closed: readonly string[]): string {
  const pins = new Set(roots);
  for (const root of roots)
    for (const path of closed.filter((one) => one !== root && isInside(one, root)))
      for (let dir = dirname(path); isInside(dir, root); dir = dirname(dir)) pins.add(dir);
  return [...pins].map((dir) => `(literal ${quoted(dir)})`).join(" ");
}

function all(dirs: readonly string[]): string {
  return dirs.map((dir) => `(subpath ${quoted(dir)})`).join(" ");
}

/** A path in `dir` and what is in it, however the volume spells its name there: `.GIT` is `.git` on most of them. */
function anyCase(path: string, dir: string): string {
  const plain = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  const letter = (char: string) => `[${char.toLowerCase()}${char.toUpperCase()}]`;
  const name = plain(relative(dir, path)).replaceAll(/[A-Za-z]/g, letter);
  return `(regex ${quoted(`^${plain(dir)}/${name}(/|$)`)})`;
}

function quoted(text: string): string {
  return `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}
