import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../../src/core/clock.ts";
import { commandAdapter } from "../../../../src/core/tracker/command/adapter.ts";
import { config } from "../../../support/makers/issue.ts";
import { temporaryDir } from "../../../support/makers/storage.ts";
import { trackerContract } from "../contract.ts";

/** A tracker in one file; `fail` beside it breaks the next answer. */
const program = `
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
const read = () => JSON.parse(readFileSync("issues.json", "utf8"));
const say = (text) => process.stdout.write(text + "\\n");
createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  appendFileSync("requests", ".");
  if (existsSync("fail")) {
    const how = readFileSync("fail", "utf8");
    rmSync("fail");
    if (how === "garbage") return say("<html>");
    const code = how === "limit" ? "rate_limited" : "unavailable";
    return say(JSON.stringify({ id, error: { code, message: how, retry_after_ms: 0 } }));
  }
  const issues = read();
  let result = {};
  if (method === "list") result = { issues: issues.filter((one) => params.states.includes(one.state)) };
  if (method === "get") result = { issues: issues.filter((one) => params.ids.some((id) => id === one.id || id.toLowerCase() === one.identifier.toLowerCase())) };
  if (method === "move") {
    issues.find((one) => one.id === params.issue.id).state = params.state;
    writeFileSync("issues.json", JSON.stringify(issues));
  }
  say(JSON.stringify({ id, result }));
});
`;

trackerContract(
  {
    ...{ kind: "command", active: "To Do", done: "Done", unknownId: "9999" },
    ...{ broken: "tracker_request", failures: ["server", "limit", "garbage"] },
  },
  async (t) => {
    const dir = temporaryDir(t);
    const at = (name: string) => join(dir, name);
    writeFileSync(at("board.mjs"), program);
    writeFileSync(at("issues.json"), "[]");
    writeFileSync(at("requests"), "");
    const provider = { command: [process.execPath, "board.mjs"] };
    const states = { activeStates: ["To Do"], terminalStates: ["Done"] };
    const settings = config({ tracker: { kind: "command", provider, ...states } }).tracker;
    const env = { PATH: process.env["PATH"] ?? "" };
    const tracker = commandAdapter.create(settings, {
      ...{ dataDir: dir, clock: systemClock, env, workflowPath: at("WORKFLOW.md") },
      lookup: () => undefined,
    });
    t.after(() => tracker.close());
    t.after(() => rmSync(at("fail"), { force: true }));
    return {
      ...{ tracker, driven: (work) => work },
      requests: () => readFileSync(at("requests")).length,
      async add({ title, labels = [] }) {
        const issues: object[] = JSON.parse(readFileSync(at("issues.json"), "utf8"));
        const id = String(issues.length + 1);
        issues.push({ id, identifier: `BRD-${id}`, title, labels, state: "To Do" });
        writeFileSync(at("issues.json"), JSON.stringify(issues));
        return id;
      },
      fail: (how) => writeFileSync(at("fail"), how),
    };
  },
);
