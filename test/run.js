// Runs one of the two suites on the project's own Node: `npm test`, or `npm run test:integration`.
import { spawnSync } from "node:child_process";
import { globSync, mkdirSync } from "node:fs";
import { resolve } from "node:path";

const integration = process.argv[2] === "integration";
const all = globSync("test/**/*.test.ts")
  .filter((file) => file.startsWith("test/integration/") === integration)
  .sort();
const files = all.filter((file) => !file.startsWith("test/sandbox/") || sandboxWorks());

// Nobody's login profile, git settings or symphony folder may decide about a test.
const home = resolve("node_modules/.cache/home");
mkdirSync(home, { recursive: true });
const env = {
  ...process.env,
  HOME: home,
  NODE_COMPILE_CACHE: resolve("node_modules/.cache/compile"),
};
const { status } = spawnSync(
  process.execPath,
  ["--test", "--test-concurrency=2", "--test-timeout=120000", ...files],
  { stdio: "inherit", env },
);
if (files.length < all.length) {
  const left = all.length - files.length;
  console.log(
    `\n${left} test files were left out: they need a working bubblewrap (apt-get install bubblewrap).`,
  );
}
process.exitCode = status ?? 1;

/** What runs agents in a sandbox is tested where there is one. Under CI it has to be there: nothing is left out. */
function sandboxWorks() {
  if (process.env["CI"]) return true;
  const args = ["--ro-bind", "/", "/", "--unshare-pid", "--unshare-net", "true"];
  return spawnSync("bwrap", args, { stdio: "ignore" }).status === 0;
}
