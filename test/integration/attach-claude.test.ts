import assert from "node:assert/strict";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { startFakeModel } from "../support/fakes/fake-model.ts";
import { deliveryProject } from "../support/makers/delivery-project.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { realProgram } from "../support/worlds/real-agent.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";
import { noTmux, Tmux } from "../support/worlds/tmux.ts";

const branch = "symphony/LOCAL-1-greet-people-by-name";
const token = "claude-token-for-a-test-0123456789";
const key = "sk-ant-of-the-operator-0123456789abcdef";

test("attach --with claude: the real Claude Code opens the agent's thread; what was done there is in the agent's next turn", {
  skip: noTmux,
}, async () => {
  const program = realProgram("SYMPHONY_CLAUDE");
  await using model = await startFakeModel("fake-anthropic", [
    { type: "bash", cmd: "echo greets > greet.txt" },
    { type: "text", text: "It greets people." },
    { type: "bash", cmd: "echo by hand > by-hand.txt" },
    { type: "text", text: "Written by hand." },
    { type: "bash", cmd: "echo built on > next.txt" },
    { type: "text", text: "Built on it." },
  ]);
  await using place = await deliveryProject({
    front: `agent: { kind: claude, level: danger }
claude: { command: ${JSON.stringify(program)}, env_passthrough: [ANTHROPIC_BASE_URL], login: api_key }`,
    env: { ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: key, SYMPHONY_TOKEN: token },
  });
  await using server = await Served.start(place, "--i-understand");
  const reviewed = (attempts: number) =>
    eventually(`attempt ${attempts} is in review`, async () => {
      const found = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
      const { status, delivery } = found;
      const isPushed = delivery !== null && delivery.pushed === delivery.head;
      return status === "review" && found.attempts.count === attempts && isPushed;
    });
  const made = await symphony(place, "issue", "create", "--title", "Greet people by name");
  assert.equal(made.code, 0, made.stderr);
  await reviewed(1);
  const bin = join(place.root, "own-bin");
  await mkdir(bin);
  await symlink(program, join(bin, "claude"));
  await writeFile(
    join(place.root, ".claude.json"),
    JSON.stringify({
      hasCompletedOnboarding: true,
      theme: "dark",
      customApiKeyResponses: { approved: [key.slice(-20)], rejected: [] },
    }),
  );
  const env = { ...place.env, PATH: `${bin}:${process.env["PATH"]}`, DISABLE_AUTOUPDATER: "1" };
  await using terminal = await Tmux.start({ columns: 120, rows: 40, env });
  const shows = (text: RegExp) => terminal.until(String(text), (screen) => text.test(screen));
  await terminal.symphony(`attach LOCAL-1 --with claude --data-dir "${place.dataDir}"`);
  await shows(/Yes, I trust this folder/);
  // A key that arrives before the program reads is lost.
  await eventually("trust is chosen", async () => {
    await terminal.key("Down");
    await delay(300);
    return /❯ Yes/.test(await terminal.screen());
  });
  await terminal.key("Enter");
  await shows(/It greets people\./);
  await terminal.type("Write by-hand.txt");
  await shows(/Write by-hand/);
  await terminal.key("Enter");
  await shows(/Do you want to proceed|Written by hand/);
  await terminal.key("Enter");
  await shows(/Written by hand\./);
  await terminal.type("/exit");
  await shows(/\/exit/);
  await terminal.key("Enter");
  await shows(/A note/);
  await terminal.type("Keep it.");
  await terminal.key("Enter");
  await shows(/ended 0, same/);
  await reviewed(2);
  const git = gitIn(place.bare);
  assert.equal(git("show", `${branch}:by-hand.txt`), "by hand");
  const read = JSON.stringify((await model.requests()).at(-1));
  assert.match(read, /Written by hand\.[\s\S]*Their note: Keep it\.[\s\S]*\+by hand/);
});
