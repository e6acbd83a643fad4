import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { startFakeModel } from "../support/fakes/fake-model.ts";
import { deliveryProject } from "../support/makers/delivery-project.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { type RealAgentParts, realParts, realProgram } from "../support/worlds/real-agent.ts";
import { eventually, isAlive, Served } from "../support/worlds/symphony.ts";

// Real agents at work on one server that is killed. They need SYMPHONY_CLAUDE, SYMPHONY_CLAUDE_ACP, SYMPHONY_GEMINI and
// SYMPHONY_EQUIPMENT.

const names = ["claude", "gemini"] as const;
/** Each agent is started twice, on a machine that may be at work. */
const startMs = 90_000;
const used = { usage: { input: 10_000, output: 20 } };
const cmd =
  "echo begun >> begun.txt; echo up > up; until [ -e go ]; do sleep 0.1; done; echo made > made.txt";
const shell = { type: "bash", cmd, ...used };
const done = { type: "text", text: "All done.", ...used };
const suggestions = { when: { userText: "[SUGGESTION MODE" }, steps: [done] };
const again = { when: { userText: "was interrupted" }, steps: [shell, done] };

const snake = (settings: object): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [
      key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );

async function agentOf(name: (typeof names)[number], home: string) {
  const parts: Omit<RealAgentParts, "script"> = realParts[name];
  const steps = { steps: [shell, shell, done], onEnd: "last" };
  const model = await startFakeModel(parts.fake, { ...steps, routes: [suggestions, again] });
  await parts.prepare?.(model.url, home);
  const env = parts.env(model.url, home);
  const provider = parts.provider?.(model.url);
  const settings = {
    ...{ command: parts.command(realProgram(parts.variable)) },
    ...{ env_passthrough: Object.keys(env), writable_paths: [home] },
    ...snake(parts.config ?? {}),
    ...(provider && { provider: snake(provider) }),
  };
  return { name, model, env, agent: { kind: "acp", provider: settings } };
}

/** The processes of attempts that are still there, by the cookie in their environment. */
async function processesOf(attemptIds: readonly string[]): Promise<readonly number[]> {
  const pids = (await readdir("/proc")).map(Number).filter((pid) => pid > 0);
  const found = pids.map(async (pid) => {
    const env = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "");
    const cookie = env.split("\0").find((one) => one.startsWith("SYMPHONY_RUN_ID=")) ?? "";
    return isAlive(pid) && attemptIds.some((id) => cookie.endsWith(id)) ? [pid] : [];
  });
  return (await Promise.all(found)).flat();
}

test("kill -9 of the server: the old agents are gone, each issue is taken up once, and its work is there", async () => {
  const home = await mkdtemp(join(tmpdir(), "symphony-crash-"));
  await using _ = { [Symbol.asyncDispose]: () => rm(home, { recursive: true, force: true }) };
  const agents = await Promise.all(names.map((name) => agentOf(name, home)));
  await using _models = {
    [Symbol.asyncDispose]: async () =>
      void (await Promise.all(agents.map(({ model }) => model.close()))),
  };
  const named = Object.fromEntries(agents.map(({ name, agent }) => [`${name}-acp`, agent]));
  const chosen = names.map((name) => [name, { use: `${name}-acp` }]);
  const agent = { use: "claude-acp", by_label: Object.fromEntries(chosen), level: "networked" };
  await using place = await deliveryProject({
    delivery: "  mode: branch",
    front: `agent: ${JSON.stringify(agent)}\nagents: ${JSON.stringify(named)}`,
  });
  const world = {
    ...place,
    env: {
      ...place.env,
      ...Object.assign({}, ...agents.map(({ env }) => env)),
      HOME: home,
      SYMPHONY_TOKEN: "journey-token-for-a-test-0123456789",
      PATH: `${dirname(process.execPath)}:${process.env["PATH"]}`,
    },
  };
  const file = (id: string, name: string) => join(place.workspace(id), name);
  const ids: string[] = [];
  const working = (server: Served) =>
    eventually(
      "each agent runs its command",
      async () => {
        const { running } = await server.client.system.state({});
        return running.length === names.length && ids.every((id) => existsSync(file(id, "up")));
      },
      startMs,
    );
  let old: readonly string[];
  {
    await using server = await Served.start(world, "--i-understand");
    for (const name of names) {
      const body = { title: name, labels: [name] };
      ids.push((await server.client.issues.create({ body })).identifier);
    }
    await working(server);
    const { running } = await server.client.system.state({});
    old = running.map(({ attempt_id: id }) => id ?? "none");
    assert.ok((await processesOf(old)).length >= names.length);
    await server.crash();
  }
  await Promise.all(ids.map((id) => rm(file(id, "up"))));
  await using server = await Served.start(world, "--i-understand");
  assert.deepEqual(await processesOf(old), []);
  await working(server);
  await Promise.all(ids.map((id) => writeFile(file(id, "go"), "")));
  await eventually("they wait for review", async () => {
    const { review } = await server.client.system.state({});
    return review.length === names.length;
  });
  for (const id of ids) {
    const { attempts } = await server.client.issues.attempts({ params: { id } });
    const [now, before] = attempts;
    assert.deepEqual(
      attempts.map(({ status }) => status),
      ["succeeded", "interrupted"],
      id,
    );
    // gemini loses the record of a session that it loads in the minute in which that began.
    if (id === ids[0]) assert.equal(now?.thread_id, before?.thread_id, "its session is resumed");
    assert.ok(
      (before?.tokens.total_tokens ?? 0) > 0,
      `${id}: what the killed turn used is counted`,
    );
    assert.equal(await readFile(file(id, "begun.txt"), "utf8"), "begun\nbegun\n");
    const git = gitIn(place.bare);
    const branch = `symphony/${id}-${names[ids.indexOf(id)]}`;
    const made = await eventually("its branch is pushed", async () =>
      git("show", `${branch}:made.txt`),
    );
    assert.equal(made, "made");
  }
});
