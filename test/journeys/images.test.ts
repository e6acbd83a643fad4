import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { modelServer } from "../support/fakes/model-server.ts";
import { startSmallGithub } from "../support/fakes/small-github.ts";
import { settingsWorld } from "../support/worlds/limits-world.ts";
import { eventually, Served } from "../support/worlds/symphony.ts";

// Through a real `symphony serve`.

test("images of a GitHub issue reach the model with its first request, and that of a comment with the request that tells the comment", async () => {
  await using github = await startSmallGithub();
  const upload = (name: string) => {
    const path = `/user-attachments/assets/${name}`;
    const bytes = Buffer.concat([Buffer.from("89504e470d0a1a0a", "hex"), Buffer.from(name)]);
    github.files.set(path, bytes);
    return {
      url: `${github.url}${path}`,
      sent: `data:image/png;base64,${bytes.toString("base64")}`,
    };
  };
  const [first, second] = [upload("first"), upload("second")];
  github.add({ body: `As here: <img width="1" alt="Image" src="${first.url}" />` });
  const goes = { name: "shell", args: { command: "until [ -e ../../seen ]; do sleep 0.1; done" } };
  await using model = await modelServer([
    { calls: [goes] },
    { calls: [{ name: "issue_move", args: { state: "Closed" } }] },
    { text: "done" },
  ]);
  await using world = await settingsWorld(
    () => ({
      tracker: {
        kind: "github",
        comment_steering: "all",
        provider: { base_url: github.url, repositories: ["acme/app"], token: "$GITHUB_TOKEN" },
      },
      polling: { interval_ms: 1_000 },
      agent: { kind: "openai" },
      openai: { base_url: model.url, model: "m" },
    }),
    0,
  );
  const env = { ...world.env, GITHUB_TOKEN: "ghp_0123456789", OPENAI_API_KEY: "sk-0123456789" };
  await using server = await Served.start({ ...world, env }, "--i-understand");
  await model.until(1);
  github.say(1, "ada", `Rather like this: ![x](${second.url})`, Date.now());
  await eventually("the comment was read", async () => {
    const { entries } = await server.client.audit.list({ query: {} });
    return entries.some(({ action }) => action === "issues.steer");
  });
  await writeFile(join(world.root, "seen"), "");
  await model.until(2);
  const [begun = "", steered = ""] = model.asked.map(({ body }) => JSON.stringify(body));
  assert.ok(begun.includes(first.sent) && !begun.includes(second.sent));
  assert.ok(steered.includes(second.sent));
  assert.ok(steered.includes(`1. ${second.url}`), "it is named in the text");
  const asked = github.requests.filter(({ path }) => path.startsWith("/user-attachments"));
  assert.deepEqual(
    asked.map(({ path, authorization }) => `${path} ${authorization}`),
    ["first", "second"].map((one) => `/user-attachments/assets/${one} Bearer ghp_0123456789`),
  );
});
