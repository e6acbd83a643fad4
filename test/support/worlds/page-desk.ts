import type { Step } from "../../../src/demo/script.ts";
import { pageProject } from "./page.ts";
import { eventually, Served } from "./symphony.ts";

const done: readonly Step[] = [
  { do: "tool", name: "issue_move", arguments: { state: "Done" } },
  { do: "say", text: "It is done, and the tests pass." },
];
const tokens = (input: number): Step => ({
  do: "tokens",
  ...{ input, cachedInput: input / 2, output: input / 10 },
});
const limits = `export const perMinute = 60;

/** Counts requests of one caller. */
export class Limit {
  #left = perMinute;

  take(): boolean {
    return this.#left-- > 0;
  }
}
`;
const turns: Readonly<Record<string, readonly (readonly Step[])[]>> = {
  "LOCAL-1": [
    [
      tokens(21_000),
      { do: "say", text: "The settings page has two themes." },
      { do: "ask", question: "Which colour should the button have?", options: ["Blue", "Green"] },
      ...done,
    ],
  ],
  "LOCAL-2": [
    [
      { do: "say", text: "I read the handlers first." },
      tokens(18_000),
      { do: "edit", path: "src/limit.ts", content: limits },
      { do: "run", command: "mv NOTES.md HISTORY.md" },
      { do: "say", text: "The limit is in src/limit.ts; now the tests." },
      { do: "hang" },
    ],
  ],
  "LOCAL-3": [[tokens(31_000), ...done]],
  "LOCAL-4": [[tokens(12_000), ...done]],
  "LOCAL-5": [[tokens(9_000), { do: "hang" }]],
};

const own = "git -c user.name=a -c user.email=a@a.example";
const base = `echo "# What changed" > NOTES.md && git init -q && git add . && ${own} commit -qm base`;

const issues = [
  { title: "Add a colour to the settings button", labels: ["web"] },
  { title: "Limit requests of one caller", labels: ["api", "security"] },
  { title: "Write the changelog of the release", labels: ["docs"] },
  { title: "Remove the old endpoint", labels: ["api"] },
  { title: "Move the build to the new machine", labels: [] },
  { title: "Translate the mails", labels: ["web"] },
];

/** A server with issues in every lane that needs no site: LOCAL-1 asks, LOCAL-2 runs, two are done, LOCAL-5 is held. */
export async function desk() {
  const place = await pageProject(turns, {
    agent: { approvals: "ask", max_concurrent_agents: 4, model: "gpt-5.5" },
    usage: { prices: { "gpt-5.5": { input: 1.25, cached_input: 0.125, output: 10 } } },
    hooks: { after_create: base },
  });
  const server = await Served.start(place);
  try {
    await filled(server);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return {
    ...{ place, server },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await place[Symbol.asyncDispose]();
    },
  };
}

async function filled({ client }: Served): Promise<void> {
  const status = (id: string, wanted: string) =>
    eventually(
      `${id} is ${wanted}`,
      async () => (await client.issues.detail({ params: { id } })).status === wanted,
      120_000,
    );
  const create = async (at: number) => {
    const { title = "", labels = [] } = issues[at] ?? {};
    await client.issues.create({ body: { title, labels, ...(at === 1 && { priority: 1 }) } });
  };
  for (const at of [0, 1]) await create(at);
  await status("LOCAL-1", "blocked");
  for (const at of [2, 3]) await create(at);
  await status("LOCAL-3", "completed");
  await status("LOCAL-4", "completed");
  await create(4);
  await status("LOCAL-5", "running");
  await client.issues.abort({ params: { id: "LOCAL-5" }, body: { reason: "not this week" } });
  await status("LOCAL-5", "held");
  await client.system.pause({ body: { reason: "release day" } });
  await create(5);
  await status("LOCAL-6", "queued");
}
