// Runs one of the two suites on the project's own Node: `npm test`, or `npm run test:integration`.
import { spawnSync } from "node:child_process";
import { globSync, mkdirSync } from "node:fs";
import { resolve } from "node:path";

const integration = process.argv[2] === "integration";
const files = globSync("test/**/*.test.ts").filter(
  (file) => file.startsWith("test/integration/") === integration,
);
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
  ["--test", "--test-concurrency=2", "--test-timeout=120000", ...files.sort()],
  { stdio: "inherit", env },
);
process.exitCode = status ?? 1;
