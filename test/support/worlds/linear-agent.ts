import assert from "node:assert/strict";
import type { Step } from "../../../src/demo/script.ts";
import { type LossyProxy, startLossyProxy } from "../fakes/lossy-proxy.ts";
import { ask, schemaLinear } from "../fakes/schema-linear.ts";
import { deliveryProject } from "../makers/delivery-project.ts";
import { eventually, Served, symphony } from "./symphony.ts";

const secret = "lin_wh_of_this_test";

export interface Said {
  readonly type: string;
  readonly body: string;
  readonly ephemeral: boolean;
  readonly by: string;
}

interface Session {
  readonly id: string;
  readonly status: string;
  readonly externalLinks: readonly { readonly label: string; readonly url: string }[];
}

interface Wish {
  readonly turns: readonly (readonly Step[])[];
  /** The state of the issue; Todo. */
  readonly state?: string;
  /** More of `tracker.provider`. */
  readonly provider?: Readonly<Record<string, unknown>>;
  /** Lines of YAML below `tracker`. */
  readonly tracker?: string;
  readonly front?: string;
}

/**
 * A Linear that checks every request against Linear's schema, symphony as its app user, and a network between them that may
 * lose deliveries and answers.
 */
export async function linearAgent(wish: Wish) {
  const { linear, issue, stateId, update } = await schemaLinear(wish.state ?? "Todo");
  const api = await startLossyProxy(new URL(linear.url).origin);
  const hooks = await startLossyProxy(null);
  const provider = {
    endpoint: `${api.url}/graphql`,
    api_key: "$LINEAR_APP_TOKEN",
    delegate: "me",
    sessions: "progress",
    webhook_secret: "$HOOK_SECRET",
    ...wish.provider,
  };
  const place = await deliveryProject({
    tracker: `  kind: linear\n  provider: ${JSON.stringify(provider)}\n${wish.tracker ?? ""}`,
    env: { LINEAR_APP_TOKEN: "lin_oauth_fake", HOOK_SECRET: secret },
    delivery: "  mode: branch\n  poll_interval_ms: 1000",
    issues: { [issue.identifier]: wish.turns },
    ...(wish.front !== undefined && { front: wish.front }),
  });
  const world = new LinearAgentWorld({ linear, api, hooks, place, issue });
  await ask(
    linear.url,
    `mutation($input: WebhookCreateInput!) { webhookCreate(input: $input) { success } }`,
    {
      input: {
        ...{ url: `${hooks.url}/webhooks/linear`, secret, allPublicTeams: true },
        resourceTypes: ["Issue", "Comment", "AgentSessionEvent"],
      },
    },
  );
  return Object.assign(world, {
    move: (state: string) => update({ stateId: stateId(state) }),
  });
}

interface Parts {
  readonly linear: Awaited<ReturnType<typeof schemaLinear>>["linear"];
  readonly api: LossyProxy;
  readonly hooks: LossyProxy;
  readonly place: Awaited<ReturnType<typeof deliveryProject>>;
  readonly issue: { readonly id: string; readonly identifier: string };
}

class LinearAgentWorld implements AsyncDisposable {
  readonly api: LossyProxy;
  readonly hooks: LossyProxy;
  readonly place: Parts["place"];
  readonly issue: Parts["issue"];
  readonly linear: Parts["linear"];
  #server: Served | null = null;

  constructor({ linear, api, hooks, place, issue }: Parts) {
    this.linear = linear;
    this.api = api;
    this.hooks = hooks;
    this.place = place;
    this.issue = issue;
  }

  get server(): Served {
    assert.ok(this.#server, "the server runs");
    return this.#server;
  }

  async serve(): Promise<void> {
    this.#server = await Served.start(this.place);
    this.hooks.to(this.#server.url);
  }

  /** Ends the server as a power cut does, and starts it again. */
  async crash(): Promise<void> {
    await this.server.crash();
    await this.serve();
  }

  /** An operation as a user of the workspace. */
  async act<T>(as: string, query: string, variables: object): Promise<T> {
    const response = await fetch(`${new URL(this.linear.url).origin}/__act`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ as, query, variables }),
    });
    const { data, errors } = (await response.json()) as { data: T; errors?: unknown };
    assert.equal(errors, undefined, JSON.stringify(errors));
    return data;
  }

  /** Resolves with the id of the session that the delegation opened. */
  async delegate(as = "grace"): Promise<string> {
    const before = (await this.sessions()).map(({ id }) => id);
    const { users } = await ask<{ users: { nodes: { id: string; app: boolean }[] } }>(
      this.linear.url,
      "query { users(first: 50, includeDisabled: true) { nodes { id app } } }",
    );
    const app = users.nodes.find((user) => user.app);
    await this.act(
      as,
      "mutation($id: String!, $input: IssueUpdateInput!) { issueUpdate(id: $id, input: $input) { success } }",
      { id: this.issue.id, input: { delegateId: app?.id } },
    );
    return this.#opened(before);
  }

  /** Opens a session by a comment that mentions the app. */
  async mention(body: string, as = "grace"): Promise<string> {
    const before = (await this.sessions()).map(({ id }) => id);
    const { commentCreate } = await this.act<{ commentCreate: { comment: { id: string } } }>(
      as,
      "mutation($input: CommentCreateInput!) { commentCreate(input: $input) { comment { id } } }",
      { input: { issueId: this.issue.id, body } },
    );
    await this.act(
      as,
      "mutation($input: AgentSessionCreateOnComment!) { agentSessionCreateOnComment(input: $input) { success } }",
      { input: { commentId: commentCreate.comment.id } },
    );
    return this.#opened(before);
  }

  async prompt(id: string, body: string, { as = "grace", signal = null as string | null } = {}) {
    await this.act(
      as,
      `mutation($input: AgentActivityCreatePromptInput!) {
        agentActivityCreatePrompt(input: $input) { success } }`,
      {
        input: { agentSessionId: id, content: { type: "prompt", body }, ...(signal && { signal }) },
      },
    );
  }

  /** Makes a user a guest of the workspace. */
  guest(name: string): void {
    for (const user of this.linear.world.users.byId.values()) {
      if (user.name.toLowerCase().startsWith(name)) user.guest = true;
    }
  }

  /** Linear sends a delivery once more, signed anew. */
  async redeliver(action: string, id: string): Promise<void> {
    const response = await fetch(`${new URL(this.linear.url).origin}/__webhook`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ type: "AgentSessionEvent", action, session: id }),
    });
    const { deliveries } = (await response.json()) as { deliveries: { status?: number }[] };
    assert.deepEqual(
      deliveries.map(({ status }) => status),
      [200],
    );
  }

  symphony(...args: string[]) {
    return symphony(this.place, ...args);
  }

  async sessions(): Promise<readonly Session[]> {
    const { agentSessions } = await ask<{ agentSessions: { nodes: Session[] } }>(
      this.linear.url,
      "query { agentSessions(first: 50) { nodes { id status externalLinks { label url } } } }",
    );
    return agentSessions.nodes;
  }

  async session(id: string): Promise<Session> {
    const found = (await this.sessions()).find((one) => one.id === id);
    assert.ok(found);
    return found;
  }

  /** What was said in a session, oldest first, without what people wrote. */
  async said(id: string): Promise<readonly Said[]> {
    const { agentSession } = await ask<{
      agentSession: {
        activities: {
          nodes: {
            createdAt: string;
            ephemeral: boolean;
            user: { displayName: string };
            content: { type: string; body?: string; parameter?: string };
          }[];
        };
      };
    }>(
      this.linear.url,
      `query($id: String!) { agentSession(id: $id) { activities(first: 100) { nodes {
        createdAt ephemeral user { displayName } content {
          ... on AgentActivityThoughtContent { type body } ... on AgentActivityActionContent { type parameter }
          ... on AgentActivityElicitationContent { type body } ... on AgentActivityErrorContent { type body }
          ... on AgentActivityResponseContent { type body } ... on AgentActivityPromptContent { type body }
        } } } } }`,
      { id },
    );
    return agentSession.activities.nodes
      .toSorted((a, b) => a.createdAt.localeCompare(b.createdAt))
      .flatMap(({ content, ephemeral, user }) =>
        content.type === "prompt"
          ? []
          : [
              {
                ...{ type: content.type, body: content.body ?? content.parameter ?? "" },
                ...{ ephemeral, by: user.displayName },
              },
            ],
      );
  }

  /** Resolves once something of this type and text was said. */
  async hears(id: string, type: string, body: RegExp): Promise<Said> {
    try {
      return await eventually(`${type} ${body}`, async () =>
        (await this.said(id)).find((one) => one.type === type && body.test(one.body)),
      );
    } catch (error) {
      const said = JSON.stringify(await this.said(id), null, 1);
      throw new Error(`not said: ${type} ${body}\n${said}\n${this.#server?.log}`, { cause: error });
    }
  }

  async status(wanted: string) {
    return eventually(wanted, async () => {
      const { status } = await this.server.client.issues.detail({
        params: { id: this.issue.identifier },
      });
      return status === wanted;
    });
  }

  async #opened(before: readonly string[]): Promise<string> {
    return eventually("a session", async () => {
      const now = (await this.sessions()).map(({ id }) => id);
      return now.find((id) => !before.includes(id));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    await this.api[Symbol.asyncDispose]();
    await this.hooks[Symbol.asyncDispose]();
    await this.linear.close();
    await this.place[Symbol.asyncDispose]();
  }
}
