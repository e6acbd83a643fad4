// Every command line in a block of README and docs, typed in bash as it stands, in one project with one server. Lines that are
// not typed here are in `elsewhere`, with the test that runs them, or the page says before the block why no test does.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createClient } from "../../src/client/client.ts";
import { modelServer } from "../support/fakes/model-server.ts";
import { FakeReceiver } from "../support/fakes/receiver.ts";
import { type Snippet, snippets } from "../support/makers/snippets.ts";
import { temporaryDir } from "../support/makers/storage.ts";
import { Reader } from "../support/worlds/reader.ts";
import { eventually } from "../support/worlds/symphony.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Lines that another test runs, by the beginning of `page: line`. */
const elsewhere: Readonly<Record<string, string>> = {
  "README.md: npm ci && npm install": "first-hour/walk.ts: ## Install",
  "docs/tutorial.md:": "sandbox/tutorial.test.ts: the tutorial leads from a new repository",
  "docs/watch.md: symphony watch": "commands/watch.test.ts: D11: a terminal without a size",
  "docs/delivery.md: symphony open":
    "integration/delivery.test.ts: delivery: from an issue to a pull request",
  "docs/delivery.md: symphony webhook test LOCAL-1":
    "integration/github-webhooks.test.ts: deliveries of GitHub are signed",
  "docs/delivery.md: symphony attach LOCAL-1  ":
    "journeys/attach.test.ts: attach: what a person changed in the workspace",
  "docs/delivery.md: symphony attach LOCAL-1 --with":
    "journeys/attach.test.ts: attach: the person's own agent opens",
  "docs/delivery.md: symphony attach LOCAL-1 --interrupt":
    "journeys/attach.test.ts: attach: what a person changed in the workspace",
  "docs/delivery.md: symphony attach LOCAL-1 --json":
    "journeys/attach.test.ts: attach: without a terminal it holds",
  "docs/git.md: symphony diff /srv": "journeys/kept-places.test.ts: after the root has changed",
  "docs/git.md: symphony workspaces remove /srv":
    "journeys/kept-places.test.ts: after the root has changed",
};

type Values = Readonly<Record<string, string>>;

/** What a block needs that is not there when its page is opened. */
interface Stage {
  readonly before?: () => Promise<unknown> | unknown;
  /** What a reader puts in the place of an example. */
  readonly values?: () => Promise<Values> | Values;
  /** The exit codes of lines that are refused, without their comments. */
  readonly codes?: Readonly<Record<string, number>>;
  /** What is typed when asked. */
  readonly input?: string;
  /** 1: after the others, 2: after the server has ended. */
  readonly order?: 1 | 2;
}

test("every command line of README and docs works as it stands", {
  timeout: 200_000,
}, async (t) => {
  await using receiver = await FakeReceiver.open();
  await using provider = await modelServer([]);
  const dir = temporaryDir(t);
  const env = { OPENAI_API_KEY: "sk-test-0123456789", OPENAI_BASE_URL: provider.url };
  await using reader = new Reader(dir, {
    ...{ OLD: "an older passphrase", NEW: "a newer passphrase" },
    // What plays codex is not in the sandbox that symphony sets around codex.
    SYMPHONY_CODEX__APPROVAL_POLICY: "on-request",
  });
  setUp(dir, reader);
  const stages = stagesFor(dir, reader, { receiver, env });
  const stageOf = ({ page, body }: Snippet): Stage =>
    Object.entries(stages).find(([start]) => `${page}: ${body}`.startsWith(start))?.[1] ?? {};
  const shells = ["sh", "bash", "console"];
  const shown = snippets().filter(({ language, reason }) => shells.includes(language) && !reason);
  const inOrder = shown.toSorted((a, b) => (stageOf(a).order ?? 0) - (stageOf(b).order ?? 0));
  const typed = new Set<string>();
  for (const snippet of inOrder) {
    const stage = stageOf(snippet);
    if (stage.order === 2) await reader.stop();
    await type(reader, snippet, stage, typed);
  }
  assert.ok(typed.size > 45, `${typed.size} lines`);
  assert.match(JSON.stringify(receiver.received), /Test notice from symphony/);
});

test("what is not typed here is run by the test that is named", () => {
  const lines = snippets().flatMap(({ page, body }) =>
    body.split("\n").map((line) => `${page}: ${line}`),
  );
  for (const [start, held] of Object.entries(elsewhere)) {
    assert.ok(
      lines.some((line) => line.startsWith(start)),
      `no page has "${start}" any more`,
    );
    const [file = "", title = ""] = held.split(/: (.*)/);
    assert.ok(readFileSync(join(root, "test", file), "utf8").includes(`"${title}`), held);
  }
});

/** These change nothing and answer the same on each page: the second time would hold nothing. */
const looks = ["symphony doctor", "symphony serve --dry-run", "symphony config check"];

/** Types the lines of a block, and adds them to `typed`. */
async function type(
  reader: Reader,
  { page, body }: Snippet,
  stage: Stage,
  typed: Set<string>,
): Promise<void> {
  const starts = Object.keys(elsewhere);
  const lines = (body.startsWith("#!") ? [body] : body.trimEnd().split("\n")).filter(
    (line) => !starts.some((start) => `${page}: ${line}`.startsWith(start)),
  );
  if (lines.length === 0) return;
  await stage.before?.();
  const values = Object.entries({ "ENG-123": "LOCAL-1", ...(await stage.values?.()) });
  // `ENG-123-TIME` before the `ENG-123` in it.
  values.sort(([a], [b]) => b.length - a.length);
  for (const line of lines) {
    const command = line.replace(/ +# .*$/, "");
    const own = values.reduce((text, [example, value]) => text.replaceAll(example, value), line);
    const place = `${reader.dir}: ${own.replace(/ +#.*$/, "")}`;
    if (looks.includes(command) && typed.has(place)) continue;
    typed.add(place);
    if (command === "symphony serve") await reader.serve(own);
    else await reader.type(own, stage.codes?.[command] ?? 0, stage.input);
  }
}

/** A clone of the reader's own repository, and a codex with a login, which plays a script. */
function setUp(dir: string, reader: Reader): void {
  const script = join(dir, "script.json");
  const turn = [
    { do: "edit", path: "greet.sh", append: 'echo "Hello, $1!"\n' },
    { do: "say", text: "greet.sh takes a name." },
  ];
  writeFileSync(script, JSON.stringify({ issues: { default: [turn] } }));
  const agent = [process.execPath, join(root, "src/demo/agent.ts"), "--script", script];
  const words = [...agent, "--state", join(dir, "agent")].map((word) => `"${word}"`);
  reader.install("codex", `exec ${words.join(" ")}`);
  reader.install("notify-send", "exit 0");
  mkdirSync(join(reader.home, ".codex"));
  writeFileSync(join(reader.home, ".codex/auth.json"), "{}");
  const made = `git init --quiet --bare --initial-branch main origin.git
    git clone --quiet origin.git your-project 2>/dev/null && cd your-project
    echo 'echo "Hello, world!"' > greet.sh && git add greet.sh
    git commit --quiet --message "A script that greets" && git push --quiet origin HEAD`;
  execFileSync("bash", ["-e", "-c", made], { cwd: dir, env: reader.env });
}

interface Others {
  readonly receiver: FakeReceiver;
  /** Of a provider of models. */
  readonly env: Values;
}

/** By the beginning of `page: block`. */
function stagesFor(
  dir: string,
  reader: Reader,
  { receiver, env }: Others,
): Readonly<Record<string, Stage>> {
  const project = join(dir, "your-project");
  const at = (name: string) => join(project, name);
  const runtime = () => JSON.parse(readFileSync(at(".symphony/runtime.json"), "utf8"));
  // What only prepares a page is asked of the server at once, without the start of a command.
  const client = () => createClient({ baseUrl: runtime().url, token: runtime().token });
  const review = async (id: string) => {
    const params = { id };
    await eventually(`${id} is in review`, async () => {
      const { status } = await client().issues.detail({ params });
      return status === "review" || null;
    });
    await client().issues.deliver({ params });
  };
  /** Work that is nowhere else. */
  const withWork = async (title: string) => {
    const { identifier } = await client().issues.create({ body: { title } });
    await review(identifier);
    const { workspaces } = await client().workspaces.list();
    const own = workspaces.find(({ key }) => key === identifier);
    assert.ok(own);
    writeFileSync(join(own.path, "notes.txt"), "to be kept\n");
    return identifier;
  };
  let other = "";
  let copy = "";
  return {
    "README.md: symphony diff": { order: 1, before: () => review("LOCAL-1") },
    "docs/access.md: curl": {
      values: () => ({ $SYMPHONY_TOKEN: runtime().token, "http://127.0.0.1:4000": runtime().url }),
    },
    "docs/agents/claude.md: symphony secrets": { input: "sk-ant-0123456789" },
    "docs/agents/command.md: #!": {
      before: () => {
        reader.install("my-agent", "cat");
        reader.install("make", "exit 0");
        writeFileSync(join(dir, "prompt"), "Work");
        Object.assign(reader.env, { SYMPHONY_PROMPT_FILE: join(dir, "prompt") });
      },
      input: '{"type":"tool_result","id":1,"success":true,"output":"moved"}\n',
    },
    "docs/agents/openai.md: symphony init": {
      before: () => {
        reader.dir = join(dir, "empty");
        mkdirSync(reader.dir);
        Object.assign(reader.env, env);
      },
      input: "sk-test-0123456789",
    },
    "docs/delivery.md: symphony serve": {
      before: () => {
        reader.dir = project;
        return review("LOCAL-1");
      },
    },
    "docs/delivery.md: symphony conflicts": {
      before: async () => {
        other = await withWork("Say goodbye");
        assert.equal(other, "LOCAL-2");
      },
    },
    "docs/delivery.md: symphony secrets": { input: "webhook-secret-0123456789" },
    "docs/delivery.md: symphony attach": {
      before: () => reader.type("symphony attach LOCAL-1 --json"),
    },
    "docs/git.md: symphony diff ENG-123  ": { before: () => review("LOCAL-1") },
    "docs/git.md: symphony workspaces remove ENG-123  ": {
      values: () => ({ "ENG-123": other }),
      codes: { "symphony workspaces remove ENG-123": 7 },
    },
    "docs/git.md: symphony workspaces list": {
      before: async () => {
        other = await withWork("Say good evening");
        await reader.type(`symphony issue close ${other}`);
        copy = await eventually("its work is copied", async () => {
          const { copies } = await client().workspaces.list();
          return copies[0]?.key;
        });
      },
      values: () => ({ "ENG-123-20261102T101500Z": copy, "ENG-123": other }),
    },
    "docs/journal.md: symphony state": {
      values: async () => {
        const { seq } = await client().system.state();
        return { "2h": "0s", "2026-11-23T17:00Z": new Date().toISOString(), "1234": String(seq) };
      },
    },
    "docs/journal.md: symphony backtest": {
      before: () => copyFileSync(at("WORKFLOW.md"), at("NEW.md")),
    },
    "docs/notices.md: symphony secrets": {
      before: () => {
        const rules = snippets().find(
          ({ page, language }) => page === "docs/notices.md" && language === "yaml",
        );
        const text = readFileSync(at("WORKFLOW.md"), "utf8");
        writeFileSync(at("WORKFLOW.md"), text.replace("---\n", `---\n${rules?.body}`));
      },
      input: receiver.url,
    },
    "docs/trackers/command.md: symphony secrets": { input: "token-0123456789" },
    "docs/trackers/local.md: symphony issue create": {
      // The page's own example of an issue in a file.
      before: () => {
        const file = snippets().find(
          ({ page, language }) => page === "docs/trackers/local.md" && language === "markdown",
        );
        writeFileSync(at("task.md"), file?.body.replace("APP-3", "LOCAL-1") ?? "");
        return reader.type("symphony issue import task.md");
      },
    },
    "docs/secrets.md: SYMPHONY_MASTER_KEY": {
      order: 2,
      before: () => {
        const data = join(dir, "other");
        Object.assign(reader.env, { SYMPHONY_DATA_DIR: data });
        const add = 'SYMPHONY_MASTER_KEY="$OLD" symphony secrets add A_KEY';
        return reader.type(add, 0, "0123456789");
      },
    },
    "docs/secrets.md: symphony secrets reset": {
      order: 2,
      before: () => delete reader.env["SYMPHONY_DATA_DIR"],
    },
  };
}
