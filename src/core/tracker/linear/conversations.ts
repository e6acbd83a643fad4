import { createHash } from "node:crypto";
import type { LinearDocument } from "@linear/sdk";
import { z } from "zod";
import type { Problem } from "../../config/finding.ts";
import { SymphonyError } from "../../model/errors.ts";
import { instantOf } from "../normalize.ts";
import type {
  Activity,
  ConversationPrompt,
  TrackerComment,
  TrackerConversation,
  TrackerConversations,
} from "../tracker.ts";
import type { LinearClient } from "./client.ts";
import { writerOf } from "./comments.ts";
import { documents, isNotFound, mutate, query, shaped, viewerAnswer } from "./queries.ts";

const user = z
  .object({
    id: z.string(),
    displayName: z.string(),
    app: z.boolean(),
    guest: z.boolean().nullish(),
  })
  .nullish();
type User = z.output<typeof user>;

const viewer = z.object({ id: z.string() });
const sessionAnswer = z.object({
  viewer,
  agentSession: z.object({
    id: z.string(),
    createdAt: z.string().nullish(),
    issue: z
      .object({ id: z.string(), identifier: z.string(), trashed: z.boolean().nullish() })
      .nullish(),
    creator: user,
    comment: z.object({ id: z.string(), body: z.string(), createdAt: z.string(), user }).nullish(),
    activities: z.object({
      nodes: z.array(z.object({ id: z.string(), content: z.object({ __typename: z.string() }) })),
    }),
  }),
});
const promptAnswer = z.object({
  viewer,
  agentActivity: z.object({
    id: z.string(),
    createdAt: z.string(),
    signal: z.string().nullish(),
    user,
    agentSession: z.object({ id: z.string(), issue: z.object({ id: z.string() }).nullish() }),
    sourceComment: z.object({ id: z.string() }).nullish(),
    content: z.object({ __typename: z.string(), body: z.string().nullish() }),
  }),
});
const saidAnswer = z.object({ agentActivityCreate: z.object({ success: z.boolean() }) });
const linkedAnswer = z.object({ agentSessionUpdate: z.object({ success: z.boolean() }) });

/** Linear's agent sessions: https://linear.app/developers/agent-interaction. */
export class LinearConversations implements TrackerConversations {
  readonly shows: TrackerConversations["shows"];
  readonly #client: LinearClient;

  constructor(client: LinearClient, shows: TrackerConversations["shows"]) {
    this.#client = client;
    this.shows = shows;
  }

  async read(id: string): Promise<TrackerConversation | null> {
    const answer = await found(
      query(this.#client, {
        operation: "SymphonySession",
        variables: { id },
        shape: sessionAnswer,
      }),
    );
    if (answer === null) return null;
    const { createdAt, issue, creator, comment, activities } = answer.agentSession;
    const owner = answer.viewer.id;
    const isThere = issue != null && issue.trashed !== true;
    return {
      id,
      issue: isThere ? { id: issue.id, identifier: issue.identifier } : null,
      openedAt: createdAt ? instantOf(createdAt) : null,
      by: writerOf({ user: creator }, owner),
      mayWrite: creator?.guest !== true,
      comment:
        comment && isThere
          ? said(comment.user, owner, {
              ...{ id: comment.id, issueId: issue.id, body: comment.body },
              createdAt: instantOf(comment.createdAt),
            })
          : null,
      prompts: activities.nodes
        .filter(({ content }) => content.__typename === "AgentActivityPromptContent")
        .map((activity) => activity.id),
    };
  }

  async prompt(id: string): Promise<ConversationPrompt | null> {
    const answer = await found(
      query(this.#client, { operation: "SymphonyPrompt", variables: { id }, shape: promptAnswer }),
    );
    if (answer === null) return null;
    const { viewer: owner, agentActivity } = answer;
    const { agentSession, content, sourceComment, signal, createdAt } = agentActivity;
    if (content.__typename !== "AgentActivityPromptContent") return null;
    return {
      conversationId: agentSession.id,
      stop: signal === "stop",
      comment: said(agentActivity.user, owner.id, {
        // The same text is also a comment of the issue.
        id: sourceComment?.id ?? id,
        issueId: agentSession.issue?.id ?? "",
        body: content.body ?? "",
        createdAt: instantOf(createdAt),
      }),
    };
  }

  /** Its id is made from the key, so that it may be sent again: Linear refuses the second one. */
  async say(agentSessionId: string, key: string, activity: Activity): Promise<void> {
    const input = { id: idFrom(key), agentSessionId, ...inputOf(activity) };
    const operation = "SymphonySay";
    try {
      const { data } = await this.#client.read({
        ...{ operation, document: documents[operation], variables: { input } },
      });
      if (shaped(saidAnswer, operation, data).agentActivityCreate.success) return;
    } catch (error) {
      if (error instanceof SymphonyError && /with id \S+ already exists/.test(error.message))
        return;
      throw gone(error);
    }
    throw new SymphonyError("tracker_response", "Linear took no activity of the agent session");
  }

  async link(id: string, externalUrls: Parameters<TrackerConversations["link"]>[1]): Promise<void> {
    const { agentSessionUpdate } = await mutate(this.#client, {
      operation: "SymphonySessionLinks",
      variables: { id, input: { externalUrls } },
      shape: linkedAnswer,
    }).catch((error: unknown) => {
      throw gone(error);
    });
    if (agentSessionUpdate.success) return;
    throw new SymphonyError("tracker_response", "Linear took no address for the agent session");
  }
}

/** Why no agent session would ever be answered: no signed delivery reports one, or the key is a person's. */
export async function sessionProblems(
  client: LinearClient,
  { secretName }: { readonly secretName: string | null },
): Promise<readonly Problem[]> {
  const operation = "SymphonyViewer";
  const { viewer: own } = await query(client, { operation, variables: {}, shape: viewerAnswer });
  const path = "tracker.provider.sessions";
  const warning = (message: string, next: string): Problem => {
    return { path, severity: "warning", message: `${path} is set, and ${message}`, next };
  };
  const name = own?.displayName ?? "a person";
  return [
    ...(secretName === null
      ? []
      : [
          warning(
            `${secretName} is not: agent sessions are reported by signed webhooks only, so none is answered`,
            `symphony secrets add ${secretName}`,
          ),
        ]),
    ...(own?.app === false
      ? [
          warning(
            `the key is that of ${name}, no app: Linear opens agent sessions with apps only`,
            "docs/trackers/linear-agent.md, set up the app",
          ),
        ]
      : []),
  ];
}

type Input = Omit<LinearDocument.AgentActivityCreateInput, "agentSessionId" | "id" | "signal"> & {
  readonly signal?: `${LinearDocument.AgentActivitySignal}`;
};

function inputOf({ type, body, passing, options }: Activity): Input {
  const content = type === "action" ? { type, action: "Working", parameter: body } : { type, body };
  return {
    content,
    ...(passing && { ephemeral: true }),
    // https://linear.app/developers/agent-signals
    ...(options !== undefined &&
      options.length > 0 && {
        signal: "select",
        signalMetadata: { options: options.map((value) => ({ value })) },
      }),
  };
}

function said(
  author: User,
  ownerId: string,
  facts: Pick<TrackerComment, "id" | "issueId" | "body" | "createdAt">,
): TrackerComment {
  return {
    ...facts,
    author: author?.displayName ?? "someone",
    by: writerOf({ user: author }, ownerId),
    ...(author?.guest && { mayWrite: false }),
  };
}

async function found<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (error) {
    if (isNotFound(error)) return null;
    throw error;
  }
}

/** An agent session that does not exist any more takes nothing, however often it is tried. */
function gone(error: unknown): unknown {
  if (!isNotFound(error)) return error;
  const message = "Linear has no such agent session any more";
  return new SymphonyError("issue_not_found", message, { cause: error });
}

/** Linear takes ids in the form of a random UUID (version 4). */
export function idFrom(key: string): string {
  const bytes = createHash("sha256").update(key).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)];
  return [...parts, hex.slice(20)].join("-");
}
