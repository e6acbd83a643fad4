import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { AgentRuntime, AgentSession, SessionSpec } from "../../../src/core/agent/agent.ts";
import type { AgentKind } from "../../../src/core/agent/kinds.ts";
import { positive, section, solidText } from "../../../src/core/config/agents.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import type { Issue } from "../../../src/core/model/issue.ts";
import { renamed } from "../../../src/core/model/names.ts";
import type { TrackerKind } from "../../../src/core/tracker/kinds.ts";
import type { Tracker } from "../../../src/core/tracker/tracker.ts";

/** The row of a tracker with its issues in memory. Its setting `board` must not be blank. */
export function tinyTracker(issues: Map<string, Issue>): TrackerKind {
  return {
    kind: "tiny",
    section: {
      states: { active: ["Open"], terminal: ["Shut"] },
      minPollMs: 1,
      flatKeys: ["board"],
      providerKeys: ["board"],
      example: { provider: { board: "main" } },
    },
    load: async () => ({
      check({ provider }) {
        if (typeof provider["board"] === "string" && provider["board"] !== "") return;
        const path = "tracker.provider.board";
        throw new SymphonyError("invalid_tracker_config", `${path} is missing`, {
          details: { path },
        });
      },
      create: () => trackerOver(issues),
      openIssues: () => null,
    }),
    webhook: null,
    setup: {
      title: "Tiny",
      ...{
        keyName: null,
        keyFrom: null,
        projectKey: null,
        ...{ siteKeys: null, settings: [] },
        provider: [],
        first: null,
      },
      move: "Move the issue.",
    },
  };
}

function trackerOver(issues: Map<string, Issue>): Tracker {
  const move = ({ id }: Issue, state: string) => {
    const issue = issues.get(id);
    if (issue) issues.set(id, { ...issue, state });
  };
  return {
    kind: "tiny",
    fetchIssuesByStates: async (states) =>
      [...issues.values()].filter(({ state }) => states.includes(state)),
    fetchIssuesByIds: async (ids) => ids.flatMap((id) => issues.get(id) ?? []),
    bindTools: (issue) => ({
      specs: [{ name: "tiny_move", description: "Moves the issue", inputSchema: {} }],
      async call(_, state) {
        move(issue, String(state));
        return { success: true, output: "moved" };
      },
    }),
    secretEnvNames: [],
    workflow: {
      states: async () => [
        { name: "Open", terminal: false },
        { name: "Shut", terminal: true },
      ],
      move: async (issue, state) => move(issue, state),
    },
    watch: () => () => {},
    close: () => {},
  };
}

const schema = section({
  greeting: solidText.default("hello"),
  times: positive.default(1),
  model: solidText.default("tiny-1"),
});

interface TinySettings {
  readonly greeting: string;
  readonly times: number;
  readonly model: string;
}

/** The row of an agent that writes its greeting into the workspace and moves the issue to `Shut`. */
export const tinyAgent: AgentKind<TinySettings> = {
  kind: "tiny-agent",
  section: {
    schema,
    meanings: { greeting: "What is written", times: "How often", model: "Who writes" },
    example: { greeting: "good evening" },
    settings: (written) => renamed(schema, schema.parse(written)),
  },
  create: async ({ settings }) => ({
    kind: "tiny-agent",
    start: async (spec) => sessionOf(spec, settings()),
  }),
  command: ({ greeting }) => `echo ${greeting}`,
  models: {
    list: async () => [{ id: "tiny-1", ownedBy: null, createdAt: null }],
    source: () => [],
    baseUrl: () => null,
  },
  outliving: null,
};

function sessionOf(
  spec: SessionSpec,
  { greeting, times }: TinySettings,
): Awaited<ReturnType<AgentRuntime["start"]>> {
  const threadId = `tiny-${randomUUID()}`;
  spec.onEvent({ type: "session.started", threadId, resumed: false });
  const session: AgentSession = {
    threadId,
    resumed: false,
    pid: null,
    async turn() {
      spec.onEvent({ type: "turn.started", turnId: "turn-1" });
      await writeFile(join(spec.workspace, "greeting.txt"), `${greeting}\n`.repeat(times));
      const { output } = await spec.tools.call("tiny_move", "Shut");
      spec.onEvent({ type: "message", text: output });
      spec.onEvent({ type: "turn.completed", turnId: "turn-1" });
    },
    steer: async () => ({ turnId: "turn-1" }),
    answer: () => {},
    interrupt: async () => {},
    async [Symbol.asyncDispose]() {},
  };
  return session;
}
