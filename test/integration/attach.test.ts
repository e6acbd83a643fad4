import assert from "node:assert/strict";
import { mkdir, readdir, readFile, symlink } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { startFakeOpenai } from "../support/fakes/fake-openai.ts";
import { codexHome } from "../support/makers/codex-home.ts";
import { type DeliveryProject, deliveryProject } from "../support/makers/delivery-project.ts";
import { gitIn } from "../support/makers/git-repository.ts";
import { realProgram } from "../support/worlds/real-agent.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";
import { noTmux, Tmux } from "../support/worlds/tmux.ts";

const branch = "symphony/LOCAL-1-greet-people-by-name";

/** What codex may ask before it shows the thread, and the key that answers it: the folder, and a newer model. */
const startKeys = [
  ["› 1. Open restricted", "Enter"],
  ["› 1. Try new model", "Down"],
  ["› 2. Use existing model", "Enter"],
] as const;

/** A PATH on which the person's own program of this name is the real one. */
async function ownPath(place: DeliveryProject, name: string, program: string): Promise<string> {
  const bin = join(place.root, "own-bin");
  await mkdir(bin);
  await symlink(program, join(bin, name));
  return `${bin}:${process.env["PATH"]}`;
}

/** LOCAL-1 is in review after this many attempts, and its branch is pushed. */
function reviewed(server: Served, attempts: number) {
  return eventually(`attempt ${attempts} is in review`, async () => {
    const found = await server.client.issues.detail({ params: { id: "LOCAL-1" } });
    const { status, delivery } = found;
    const isPushed = delivery !== null && delivery.pushed === delivery.head;
    return status === "review" && found.attempts.count === attempts && isPushed ? found : undefined;
  });
}

test("attach --with codex: the real codex opens the agent's thread; what was done there is in the agent's next turn", {
  skip: noTmux,
}, async () => {
  const program = realProgram("SYMPHONY_CODEX");
  await using openai = await startFakeOpenai([
    { type: "shell", cmd: "echo greets > greet.txt" },
    { type: "text", text: "greet.txt greets." },
    { type: "shell", cmd: "echo by hand > by-hand.txt" },
    { type: "text", text: "Written by hand." },
    { type: "shell", cmd: "echo built on > next.txt" },
    { type: "text", text: "Built on it." },
  ]);
  await using home = await codexHome(openai.url);
  await using place = await deliveryProject({
    codex: {
      command: `"${program}" app-server`,
      envPassthrough: ["FAKE_MODEL_KEY"],
      parent: home.workspaces,
    },
    env: { HOME: home.userHome, CODEX_HOME: home.path, FAKE_MODEL_KEY: "k" },
  });
  await using server = await Served.start(place);
  const made = await symphony(place, "issue", "create", "--title", "Greet people by name");
  assert.equal(made.code, 0, made.stderr);
  await reviewed(server, 1);
  const path = await ownPath(place, "codex", program);
  const opened = async (last: string) => {
    const terminal = await Tmux.start({
      columns: 120,
      rows: 40,
      env: { ...place.env, PATH: path },
    });
    await terminal.symphony(`attach LOCAL-1 --with codex --data-dir "${place.dataDir}"`);
    let pressed = 0;
    await terminal.until(`${last}, with every question of its start answered`, (screen) => {
      const asked = startKeys.find(([text]) => screen.includes(text));
      if (asked === undefined) return screen.includes(last);
      // A key is lost where it comes before codex reads them, so it is pressed again, but not at once.
      if (Date.now() - pressed > 1500) {
        pressed = Date.now();
        terminal.key(asked[1]);
      }
      return false;
    });
    return terminal;
  };
  await using terminal = await opened("greet.txt greets.");
  const shows = (text: string) => terminal.until(text, (screen) => screen.includes(text));
  await terminal.type("Write by-hand.txt");
  await shows("Write by-hand.txt");
  await terminal.key("Enter");
  await shows("Written by hand.");
  await terminal.type("/quit");
  await shows("/quit");
  await terminal.key("Enter");
  await shows("A note");
  await terminal.type("Keep it.");
  await terminal.key("Enter");
  await shows("ended 0, same");
  assert.match(await terminal.history(), /1 changed file will be in the agent's next turn/);
  await reviewed(server, 2);
  const git = gitIn(place.bare);
  assert.equal(git("show", `${branch}:by-hand.txt`), "by hand");
  const read = JSON.stringify((await openai.requests()).at(-1)?.body.input);
  assert.match(read, /Written by hand\.[\s\S]*Their note: Keep it\.[\s\S]*\+by hand/);
  await using other = await opened("Built on it.");
  const [tui, ...more] = await codexesWith(place.root, "resume");
  assert.deepEqual(more, []);
  process.kill(tui ?? 0, "SIGKILL");
  await other.until("the note", (screen) => screen.includes("A note"));
  await eventually("no codex of it is left", async () => {
    return (await codexesWith(place.root, "")).length === 0;
  });
});

/** The processes of codex whose environment names `root`, with `word` in their arguments. */
async function codexesWith(root: string, word: string): Promise<readonly number[]> {
  const found: number[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const env = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "");
    const [program, ...args] = (
      await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "")
    ).split("\0");
    const isCodex = program?.split("/").at(-1)?.startsWith("codex") === true;
    if (isCodex && env.includes(root) && args.join(" ").includes(word)) found.push(Number(pid));
  }
  return found;
}
