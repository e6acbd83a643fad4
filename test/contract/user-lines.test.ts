import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { ApiDocument } from "../support/makers/openapi-schemas.ts";
import { type LivingServer, livingServer } from "../support/worlds/living-server.ts";
import { eventually } from "../support/worlds/symphony.ts";

const run = promisify(execFile);
const text = readFileSync(new URL("user-api.txt", import.meta.url), "utf8");
const document = new ApiDocument();

/** The command lines of the document as printed; lines that end in a backslash are joined. */
const lines = text.replaceAll("\\\n", "\\\n ").match(/^curl (?:.*\\\n)*.*$/gm) ?? [];

let living: LivingServer;
before(async () => {
  living = await livingServer();
});
after(() => living[Symbol.asyncDispose]());

/** Runs a line in a shell as printed, except that the port differs and the status is written after the answer. */
async function shell(line: string): Promise<{ status: number; body: string }> {
  const { host } = new URL(living.server.url);
  const [call = "", ...filters] = line.replaceAll("127.0.0.1:4000", host).split(" | ");
  const commandLine = call.replace(
    /^curl /,
    "curl --silent --show-error --write-out '%{stderr}%{http_code}' ",
  );
  const { stdout, stderr } = await run("bash", ["-c", [commandLine, ...filters].join(" | ")]);
  return { status: Number(stderr), body: stdout };
}

const answers: Readonly<Record<string, { name: string; status: number }>> = {
  "/api/v1/state": { name: "system.state", status: 200 },
  "/api/v1/ENG-123/model": { name: "issues.model", status: 200 },
  "/api/v1/ENG-123/steer": { name: "issues.steer", status: 202 },
  "/api/v1/ENG-123/transition": { name: "issues.transition", status: 200 },
  "/api/v1/ENG-123/attempts": { name: "issues.attempts", status: 200 },
  "/api/v1/config": { name: "config.show", status: 200 },
  "/api/v1/secrets": { name: "secrets.list", status: 200 },
  "/api/v1/templates": { name: "templates.list", status: 200 },
  "/api/v1/workspaces": { name: "workspaces.list", status: 200 },
  "/api/v1/audit?limit=50&offset=0": { name: "audit.list", status: 200 },
};

test("the document has its eleven command lines", () => {
  assert.equal(lines.length, 11);
});

for (const line of lines) {
  const path = /127\.0\.0\.1:4000([^\s"|]*)/.exec(line)?.[1] ?? "";
  test(`runs as printed: curl ${path}`, async () => {
    if (path.endsWith("/transition")) await hold("ENG-123");
    const { status, body } = await shell(line);
    if (line.includes("| jq .info")) {
      assert.equal(status, 200);
      assert.equal(JSON.parse(body).title, "symphony");
      return;
    }
    const expected = answers[path];
    assert.ok(expected, `nothing is expected of ${path}`);
    assert.equal(status, expected.status, body);
    const { pointer } = document.operation(expected.name);
    const schema = `${pointer}/responses/${status}/content/application~1json/schema`;
    assert.equal(document.faults(schema, JSON.parse(body)), null);
  });
}

test("refresh is answered 202 Accepted, not 200", async () => {
  assert.match(text, /POST \/api\/v1\/refresh returns 202 Accepted, not 200/);
  const { status, body } = await shell("curl -X POST http://127.0.0.1:4000/api/v1/refresh");
  assert.equal(status, 202);
  assert.equal(JSON.parse(body).queued, true);
});

/** "Retry after fix": the line is meant for an issue that has stopped. */
async function hold(identifier: string): Promise<void> {
  const { ask } = living.server;
  await ask(`/api/v1/${identifier}/abort`, { method: "POST" });
  await eventually(`${identifier} is held`, async () => {
    const { status } = (await ask(`/api/v1/${identifier}`)).json();
    return status === "held";
  });
}
