/*
 * `sandbox-exec -p PROFILE -D NAME=VALUE COMMAND…` of macOS on Linux: reads the profile and holds its rules for files
 * by bubblewrap, in their order, so that the last one decides, and refuses the network unless a rule opens it. Rules for
 * a single port and for services of macOS are not held. A word that Seatbelt does not have is an error, as there.
 */
import { spawn } from "node:child_process";
import { lstatSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";

type Form = string | readonly Form[];

const operations = new Set([
  ...["file-read*", "file-read-metadata", "file-test-existence", "file-map-executable"],
  ...["file-write*", "file-write-data", "file-write-unlink", "file-ioctl", "process-exec"],
  ...["process-fork", "signal", "process-info*", "sysctl-read", "sysctl-write", "mach-host*"],
  ...["mach-lookup", "ipc-posix-sem", "pseudo-tty", "system-socket", "network-outbound"],
  ...["network-bind", "network-inbound", "default"],
]);
const filters = new Set([
  ...["subpath", "literal", "regex", "target", "sysctl-name", "global-name", "remote", "local"],
  "socket-domain",
]);

function parsed(text: string): readonly Form[] {
  const stack: Form[][] = [[]];
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\[\s\S])*"|[()]|[^\s()"]+/g)) {
    if (token === "(") stack.push([]);
    else if (token === ")") {
      const done = stack.pop() ?? [];
      stack.at(-1)?.push(done);
    } else stack.at(-1)?.push(token);
  }
  if (stack.length !== 1) throw new Error("unbalanced profile");
  return stack[0] ?? [];
}

const [, , flag, profile = "", define, box = "", ...command] = process.argv;
if (flag !== "-p" || define !== "-D") throw new Error("usage: sandbox-exec -p PROFILE -D K=V");
const parameter = box.slice(box.indexOf("=") + 1);

function pathOf(form: Form | undefined): string {
  if (typeof form !== "string") return parameter;
  return form.slice(1, -1).replaceAll(/\\([\s\S])/g, "$1");
}

const roots: string[] = [];
const hidden: string[] = [];

/** The existing paths that a filter names; of a regular expression those in what can be written. */
function pathsOf(filter: Form): readonly string[] {
  const [name, value] = filter as readonly Form[];
  if (!filters.has(String(name))) throw new Error(`unknown filter ${String(name)}`);
  if (name === "subpath" || name === "literal") return [pathOf(value)];
  if (name !== "regex") return [];
  const pattern = new RegExp(pathOf(value));
  const below = (dir: string, depth: number): readonly string[] =>
    names(dir).flatMap((one) => {
      const path = join(dir, one);
      if (pattern.test(path)) return [path];
      return depth > 0 ? below(path, depth - 1) : [];
    });
  return roots.flatMap((dir) => below(dir, 1));
}

function names(dir: string): readonly string[] {
  try {
    return lstatSync(dir).isDirectory() ? readdirSync(dir) : [];
  } catch {
    return [];
  }
}

function mount(path: string, how: "read" | "write" | "hide" | "keep"): readonly string[] {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined || path === "/" || path.startsWith("/dev")) return [];
  if (stats.isSymbolicLink()) return how === "read" ? ["--symlink", readlinkSync(path), path] : [];
  if (how === "write") return ["--bind", path, path];
  if (how === "read" || how === "keep") return ["--ro-bind", path, path];
  if (!stats.isDirectory()) return ["--ro-bind", "/dev/null", path];
  hidden.push(path);
  return ["--tmpfs", path];
}

const args: string[] = [];
let shares = false;
for (const form of parsed(profile)) {
  const [verb, ...words] = form as readonly Form[];
  if (verb === "version") continue;
  const ops = words.filter((word) => typeof word === "string");
  const unknown = ops.find((op) => !operations.has(op));
  if (unknown !== undefined) throw new Error(`unknown operation ${unknown}`);
  const rules = words.filter((word) => typeof word !== "string");
  if (verb === "allow" && ops.includes("network-outbound"))
    shares ||= rules.some((rule) => rule[0] === "remote" && rule[1] === "ip");
  const [reads, writes] = [ops.includes("file-read*"), ops.includes("file-write*")];
  const how = verb === "allow" ? (writes ? "write" : "read") : reads ? "hide" : "keep";
  if (!(reads || writes)) {
    for (const rule of rules) pathsOf(rule);
    continue;
  }
  for (const path of rules.flatMap(pathsOf)) {
    if (how === "write") roots.push(path);
    args.push(...mount(path, how));
  }
}
const ofLinux = ["/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives", "/etc/passwd"];
const child = spawn(
  "bwrap",
  [
    ...["--unshare-all", "--die-with-parent", ...(shares ? ["--share-net"] : [])],
    ...["--proc", "/proc", "--dev", "/dev"],
    ...ofLinux.flatMap((path) => mount(path, "read")),
    ...args,
    ...hidden.flatMap((path) => ["--remount-ro", path]),
    ...["--remount-ro", "/", "--chdir", process.cwd(), "--", ...command],
  ],
  { stdio: "inherit" },
);
child.once("exit", (status, signal) => process.exit(signal === null ? (status ?? 1) : 128 + 15));
