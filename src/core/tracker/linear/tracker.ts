// Issues of Linear: paged reads, its rate limits, webhooks and agent tools.

import type { Clock } from "../../clock.ts";
import type { TrackerConfig } from "../../config/config.ts";
import { SymphonyError } from "../../model/errors.ts";
import { type Issue, type IssueName, normalState } from "../../model/issue.ts";
import { blockerRulesOf } from "../blockers.ts";
import type {
  CredentialKeeper,
  KeyedComment,
  Lookup,
  Tracker,
  TrackerLink,
  TrackerWorkflow,
} from "../tracker.ts";
import { type LinearBudget, type PassCost, shareLeft, slowedPollMs } from "./budget.ts";
import { LinearClient, type RequestOutcome } from "./client.ts";
import { type Owner, readComment, readComments, readSince } from "./comments.ts";
import { idFrom, LinearConversations, sessionProblems } from "./conversations.ts";
import { linearWebhook } from "./deliveries.ts";
import { LinearTokens } from "./oauth.ts";
import { commentAnswer, editAnswer, linkAnswer, moveAnswer, mutate } from "./queries.ts";
import { IssueReader } from "./reader.ts";
import { Scope } from "./scope.ts";
import { linearSettings } from "./settings.ts";
import { bindLinearTools } from "./tools.ts";
import { registerWebhook } from "./webhook.ts";

export interface LinearTrackerOptions {
  readonly config: TrackerConfig;
  /** Looks a name up in the secrets first, then in the environment. */
  readonly lookup: Lookup;
  readonly clock: Clock;
  readonly onRequest?: (outcome: RequestOutcome) => void;
  /** Called with the number of malformed records that a read left out. */
  readonly onMalformed?: (count: number) => void;
  readonly keeper?: CredentialKeeper | undefined;
  /** Longest time for one request; 30 s. */
  readonly timeoutMs?: number;
  /** Longest time between full passes, budget permitting; 5 minutes. */
  readonly fullPassMs?: number;
}

export interface LinearTracker extends Tracker {
  /** As Linear last reported it. */
  readonly budget: LinearBudget;
}

const defaultFullPassMs = 300_000;
/** A state may have got another name. */
const namesAgeMs = 60_000;

/**
 * The Linear adapter for one configuration; another configuration needs another adapter. Sends no request yet.
 * Throws the codes of `linearSettings`.
 */
export function createLinearTracker(options: LinearTrackerOptions): LinearTracker {
  const { config, clock } = options;
  const settings = linearSettings(config, options.lookup);
  const { keeper, lookup } = options;
  const tokens = settings.oauth && new LinearTokens(settings.oauth, { clock, lookup, keeper });
  const authorization = tokens?.authorization ?? settings.authorization;
  const client = new LinearClient({
    ...{ endpoint: settings.endpoint, clock, authorization, recover: tokens?.recover },
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    ...(options.onRequest === undefined ? {} : { onRequest: options.onRequest }),
  });
  const owner: Owner = { name: null };
  const scope = new Scope(client, settings, clock);
  const reader = new IssueReader({
    client,
    scope,
    clock,
    blockers: blockerRulesOf(config),
    fullPassMs: options.fullPassMs ?? defaultFullPassMs,
    onMalformed: options.onMalformed ?? (() => {}),
  });
  return {
    kind: "linear",
    fetchIssuesByStates: (states) => reader.byStates(states),
    fetchIssuesByIds: (ids) => reader.byIds(ids),
    find: (identifier) => reader.find(identifier),
    whyGone: (id) => reader.whyGone(id),
    pollPace: paceOf(client),
    budgetLeft: () => shareLeft(client.budget),
    quota: () => restOf(client.budget).join(" and ") || null,
    address: settings.endpoint,
    // The key of another server is not for Linear's files.
    ...(new URL(settings.endpoint).host === "api.linear.app" && {
      uploads: {
        holds: ({ origin }: URL) => origin === "https://uploads.linear.app",
        authorization,
      },
    }),
    ...(settings.sessions !== null && {
      conversations: new LinearConversations(client, settings.sessions),
    }),
    ownLogin: () => owner.name,
    comment: (id) => readComment(client, id, owner),
    comments: (issue) => readComments(client, issue),
    aheadMs: () => client.gap.aheadMs,
    newComments: (issue, since) => readSince(client, issue, { since, owner }),
    async scopeNames({ labels }) {
      const { teams } = await scope.view(namesAgeMs);
      const named = [...teams].map(([team, all]) => [team, all.map(({ name }) => name)] as const);
      const { provider } = config;
      const isSigned = linearWebhook.secret(provider, lookup) !== null;
      const secretName = isSigned ? null : linearWebhook.secretName(provider);
      const problems =
        settings.sessions === null ? [] : await sessionProblems(client, { secretName });
      return { teams: new Map(named), labels: labels ? await scope.labels() : null, problems };
    },
    registerWebhook: (order) => registerWebhook(client, scope, order),
    bindTools: () => bindLinearTools(client, settings, tokens),
    secretEnvNames: settings.secretEnvNames,
    workflow: workflowOf(client, scope, config.terminalStates),
    // Linear pushes changes only by webhook, and those are received elsewhere.
    watch: () => () => {},
    close: () => client.close(),
    get budget() {
      return client.budget;
    },
  };
}

/** Slower polls while Linear's response headers say that the hour's budget runs out. */
function paceOf(client: LinearClient): NonNullable<Tracker["pollPace"]> {
  let before: PassCost = client.spent;
  return (intervalMs) => {
    const { spent, budget } = client;
    const cost = {
      requests: spent.requests - before.requests,
      complexity: spent.complexity - before.complexity,
    };
    before = spent;
    const slowedMs = slowedPollMs(intervalMs, cost, budget);
    if (slowedMs === null) return null;
    const rest = restOf(budget).join(" and ");
    return {
      intervalMs: slowedMs,
      reason: `Linear's budget for this hour runs out: ${rest} are left`,
    };
  };
}

/** `1400 of 1500 requests`, and the same in points of complexity. */
function restOf({ requests, complexity }: LinearBudget): readonly string[] {
  const left = (allowance: LinearBudget["requests"], unit: string) =>
    allowance === null ? [] : [`${allowance.remaining} of ${allowance.limit} ${unit}`];
  return [...left(requests, "requests"), ...left(complexity, "points")];
}

function workflowOf(
  client: LinearClient,
  scope: Scope,
  terminalStates: readonly string[],
): TrackerWorkflow {
  const terminal = new Set(terminalStates.map(normalState));
  return {
    async states(issue) {
      const states = await scope.teamStates(issue.identifier);
      return states.map(({ name }) => ({ name, terminal: terminal.has(normalState(name)) }));
    },
    async move(issue, state) {
      const states = await scope.teamStates(issue.identifier);
      const target = states.find(({ name }) => normalState(name) === normalState(state));
      if (target === undefined) throw unknownState(issue.identifier, state, states);
      const { issueUpdate } = await mutate(client, {
        operation: "SymphonyMoveIssue",
        variables: { id: issue.id, stateId: target.id },
        shape: moveAnswer,
      });
      if (issueUpdate.success) return;
      throw new SymphonyError("tracker_response", `Linear did not move ${issue.identifier}`);
    },
    link: (issue, link) => linkIn(client, issue, link),
    comment: (issue, comment) => commentIn(client, issue, comment),
  };
}

/** An attachment, and one comment: its id is made from the key, so that it is recognized. */
async function linkIn(client: LinearClient, { id: issueId, identifier }: Issue, link: TrackerLink) {
  const { key, url, title } = link;
  const failed = () =>
    new SymphonyError("tracker_response", `Linear did not link the work in ${identifier}`);
  const { attachmentCreate } = await mutate(client, {
    operation: "SymphonyLink",
    variables: { input: { issueId, url, title } },
    shape: linkAnswer,
  });
  if (!attachmentCreate.success) throw failed();
  const body = `The work is ready for review: [${title}](${url})`;
  await commentIn(client, { id: issueId, identifier }, { key, body });
}

/** The id is made from the key, so that a comment whose answer was lost is recognized. */
async function commentIn(
  client: LinearClient,
  { id: issueId, identifier }: IssueName,
  { key, body }: KeyedComment,
): Promise<void> {
  const id = idFrom(key);
  const known = await readComment(client, id);
  if (known?.body === body) return;
  const isWritten = await (known === null
    ? mutate(client, {
        operation: "SymphonyWriteComment",
        variables: { input: { id, issueId, body } },
        shape: commentAnswer,
      }).then(({ commentCreate }) => commentCreate.success)
    : mutate(client, {
        operation: "SymphonyEditComment",
        variables: { id, body },
        shape: editAnswer,
      }).then(({ commentUpdate }) => commentUpdate.success));
  if (isWritten) return;
  throw new SymphonyError("tracker_response", `Linear took no comment on ${identifier}`);
}

function unknownState(
  identifier: string,
  state: string,
  states: readonly { readonly name: string }[],
): SymphonyError {
  const allowed = states.map(({ name }) => name);
  const message = `${identifier} cannot be moved to ${state}: its team has ${allowed.join(", ")}`;
  return new SymphonyError("transition_not_allowed", message, { details: { allowed } });
}
