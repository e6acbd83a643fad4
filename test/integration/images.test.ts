import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { test } from "node:test";
import { startFakeOpenai } from "../support/fakes/fake-openai.ts";
import { codexHome } from "../support/makers/codex-home.ts";
import { onePixel } from "../support/makers/image.ts";
import { realAgents, realProgram } from "../support/worlds/real-agent.ts";
import { realClaude } from "../support/worlds/real-claude.ts";
import { Bench } from "../support/worlds/scripted-agent.ts";

// The real programs hand an image of a message to their model, also of guidance in mid-turn.

const options = { model: null, images: [onePixel] } as const;
const done = [{ type: "text", text: "I see it." }];
const isIn = (requests: unknown) => JSON.stringify(requests).includes(onePixel.base64.slice(0, 40));

test("claude", async () => {
  await using b = await realClaude(done);
  await using session = await b.start();
  assert.ok(session.takesImages);
  await session.turn("please", options);
  assert.ok(isIn(await b.model.requests()));
});

for (const name of ["claude", "gemini"] as const) {
  test(`acp: ${name}`, async () => {
    await using b = await realAgents[name](done);
    await using session = await b.start({ level: "networked" });
    assert.ok(session.takesImages);
    await session.turn("please", options);
    assert.ok(isIn(await b.model.requests()));
  });
}

test("codex", async () => {
  await using openai = await startFakeOpenai(done);
  await using home = await codexHome(openai.url);
  const command = `"${realProgram("SYMPHONY_CODEX")}" app-server`;
  const env = { HOME: home.userHome, CODEX_HOME: home.path, FAKE_MODEL_KEY: "k" };
  await using b = new Bench(home.workspaces, {
    config: { command, envPassthrough: ["FAKE_MODEL_KEY"] },
    env,
  });
  await mkdir(b.workspace);
  await using session = await b.start();
  assert.ok(session.takesImages);
  await session.turn("please", options);
  assert.ok(isIn(await openai.requests()));
});
