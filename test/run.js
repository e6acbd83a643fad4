// Runs one of the suites on the project's Node: `npm test`, `npm run test:integration`, or `npm run contract`, which is the
// contract of agents with every real one, whole. Names of files after `--`: only these, one after the other.
import { spawnSync } from "node:child_process";
import { cpSync, globSync, mkdirSync, rmSync } from "node:fs";
import { resolve } from "node:path";

const sandbox = ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--unshare-user", "true"];
const smallDisk = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"];
const mounted = "mount -t tmpfs -o size=64k tmpfs /mnt && command -v nsenter";
/** Programs that some tests need. Under CI they must be installed: no test is skipped. */
const wanted = [
  {
    files: "test/journeys/full-disk",
    name: "unshare and nsenter, with permission to mount a tmpfs",
    probe: [...smallDisk, mounted],
  },
  { files: "test/sandbox/", name: "a working bubblewrap", probe: sandbox },
  { files: "test/core/fleet/", name: "redis-server", probe: ["redis-server", "--version"] },
  {
    files: "test/core/fleet/postgres",
    name: "PostgreSQL of Debian",
    probe: ["bash", "-c", "ls /usr/lib/postgresql/*/bin/initdb && id postgres"],
  },
  { files: "test/contract/user-lines", name: "curl", probe: ["curl", "--version"] },
  { files: "test/contract/user-lines", name: "jq", probe: ["jq", "--version"] },
];
const missing = wanted.filter(({ probe: [program = "", ...args] }) => {
  return !process.env["CI"] && spawnSync(program, args, { stdio: "ignore" }).status !== 0;
});

const contract = process.argv[2] === "contract";
const integration = contract || process.argv[2] === "integration";
const all = contract
  ? ["test/integration/agent-contract.test.ts"]
  : globSync("test/**/*.test.ts")
      .filter((file) => file.startsWith("test/integration/") === integration)
      .sort();
const named = process.argv.slice(2).filter((word) => word.endsWith(".test.ts"));
const strange = named.filter((file) => !all.includes(file));
if (strange.length > 0) {
  console.error(`no test file of this suite: ${strange.join(", ")}`);
  process.exit(2);
}
const chosen = named.length > 0 ? all.filter((file) => named.includes(file)) : all;
const files = chosen.filter((file) => !missing.some((one) => file.startsWith(one.files)));

// A private home: no login profile, git settings or symphony folder of a user may influence a test.
const home = resolve("node_modules/.cache/home");
mkdirSync(home, { recursive: true });
const built = resolve("node_modules/.cache/built");
if (!integration) bundle();
const env = {
  ...process.env,
  HOME: home,
  ...(!integration && { BUILT_PROGRAM: `${built}/bin/symphony.js` }),
  NODE_COMPILE_CACHE: resolve("node_modules/.cache/compile"),
  ...(contract && { SYMPHONY_CONTRACT: "whole" }),
};
// A real agent on a slow machine takes its time; the limit is for tests that hang.
const timeoutMs = integration ? 300_000 : 120_000;
const atOnce = named.length > 0 ? 1 : 3;
const { status } = spawnSync(
  process.execPath,
  ["--test", `--test-concurrency=${atOnce}`, `--test-timeout=${timeoutMs}`, ...files],
  { stdio: "inherit", env },
);
if (files.length < chosen.length) {
  const names = missing.map(({ name }) => name).join(", ");
  console.log(`\n${chosen.length - files.length} test files were skipped. They need: ${names}`);
}
process.exitCode = status ?? 1;

/** Most tests start symphony: the bundle of a package, made here, takes half the processor time of the sources for a server. */
function bundle() {
  rmSync(built, { recursive: true, force: true });
  const { status } = spawnSync("npm", ["run", "--silent", "build"], { stdio: "inherit" });
  if (status !== 0) process.exit(1);
  for (const part of ["bin", "dist", "package.json"])
    cpSync(part, `${built}/${part}`, { recursive: true });
}
