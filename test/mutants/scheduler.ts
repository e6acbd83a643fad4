import { faults, type Mutant } from "./mutant.ts";

const orchestrator = "src/core/orchestrator";
const decisions = "test/core/orchestrator";
const effects = "test/core/effects.test.ts";

/** Faults of the scheduler's decisions. */
export const ofTheScheduler: readonly Mutant[] = [
  ...faults(
    {
      file: `${orchestrator}/exit.ts`,
      tests: [`${decisions}/simulation.test.ts`],
      only: "no invariant",
    },
    [
      "INV-30: the late exit of an attempt ends its successor",
      "if (entry?.attemptId !== input.attemptId) return decided(state);",
      "if (!entry) return decided(state);",
    ],
  ),
  ...faults(
    {
      file: `${orchestrator}/brakes.ts`,
      tests: [`${decisions}/simulation.test.ts`],
      only: "no invariant",
    },
    [
      "INV-30: the late turn of an attempt counts for its successor",
      "if (entry?.attemptId !== input.attemptId || entry.stopping) return decided(state);",
      "if (!entry || entry.stopping) return decided(state);",
    ],
  ),
  ...faults(
    {
      file: "src/core/orchestrator/step.ts",
      tests: ["test/core/orchestrator/gates.test.ts"],
      only: "an answer that was under way",
    },
    [
      "an answer from before a suspension starts an issue outside of the active hours",
      "mayStart.has(input.type) ? hoursPassed(state, context) : decided(state)",
      "mayStart.size < 0 ? hoursPassed(state, context) : decided(state)",
    ],
  ),
  ...faults(
    { file: `${orchestrator}/reconcile.ts`, tests: [`${decisions}/reconcile.test.ts`] },
    [
      "O-38: a blocked issue that becomes inactive stays blocked",
      "return release(state, issue, {\n        why: whyLeft(",
      "return decided(claimed(state, { ...entry, issue })) ?? release(state, issue, {\n        why: whyLeft(",
    ],
    [
      "O-38: a blocked issue that is still active is not refreshed",
      '    case "routable":\n      return decided(claimed(state, { ...entry, issue }));',
      '    case "routable":\n      return decided(state);',
    ],
    [
      "O-38: a blocked issue that is missing stays blocked",
      "if (issue === null) return release(state, entry.issue, { why, wall: context.wall });",
      "if (issue === null) return decided(state);",
    ],
    [
      "O-38: the workspace of a blocked issue that is closed is not cleaned up",
      "return close(state, issue, { ended: null, path: entry.workspacePath, context });",
      'return release(state, issue, { why: "closed", wall: context.wall });',
    ],
    [
      "O-33: a running issue that becomes undispatchable is not stopped",
      'if (standing === "routable")\n    return',
      'if (standing !== "terminal")\n    return',
    ],
    [
      "O-31: a running issue that is closed is not stopped",
      'if (standing === "routable")\n    return',
      'if (standing === "routable" || standing === "terminal")\n    return',
    ],
    [
      "O-30: a silent attempt is never stalled",
      "if (limitMs <= 0) return decided(state);",
      "return decided(state);",
    ],
    ["O-30: an attempt that waits for a person is stalled", "entry.questions.length > 0 || ", ""],
  ),
  ...faults(
    {
      file: `${orchestrator}/reconcile.ts`,
      tests: [`${decisions}/closed.test.ts`],
      only: "held: ",
    },
    ["O-29: held issues are not read again", '      ...issues.of("held").keys(),\n', ""],
    [
      "a held issue that is not visible is released",
      '  if (issue !== null && standingOf(issue, context.config.tracker) === "terminal") {\n    return close(state, issue, { ended: null, path: null',
      '  if (issue === null) return release(state, row.issue, "gone");\n  if (standingOf(issue, context.config.tracker) === "terminal") {\n    return close(state, issue, { ended: null, path: null',
    ],
  ),
  ...faults(
    { file: `${orchestrator}/reconcile.ts`, tests: [`${decisions}/poll.test.ts`], only: "T-11" },
    [
      "T-11: provider data of an issue is interpreted",
      "return a === b || JSON.stringify(a)",
      'return a === b || a.nativeRef?.["version"] === 1 || JSON.stringify(a)',
    ],
  ),
  ...faults(
    { file: `${orchestrator}/recheck.ts`, tests: [`${decisions}/poll.test.ts`], only: "T-11" },
    [
      "T-11: an id is trimmed",
      'type: "checkIssue", request: opened.request, issueId }',
      'type: "checkIssue", request: opened.request, issueId: issueId.trim() }',
    ],
  ),
  ...faults(
    { file: `${orchestrator}/recheck.ts`, tests: [`${decisions}/retry.test.ts`], only: "O-2" },
    [
      "O-23: a retry takes a slot that its state does not have",
      "if (hasSlot(slotsFor(state, config), issue)) {",
      "if (slotsFor(state, config).free > 0) {",
    ],
    [
      "O-23: a retry that starts loses its number",
      "{ attempt, failures: entry.failures, ...lossesOf(entry) }",
      "{ attempt: null, failures: entry.failures, ...lossesOf(entry) }",
    ],
    [
      "O-25: a retry whose read fails keeps its number",
      '{ ...entry, attempt: entry.attempt + 1, error: "retry refresh failed" }',
      '{ ...entry, error: "retry refresh failed" }',
    ],
    [
      "O-26: an error of the second read releases the claim",
      "if (entry?.checking !== input.request) return noted;",
      "if (entry?.wantsSlot) return dropRetry(noted.state, entry, null, context);\n  if (entry?.checking !== input.request) return noted;",
    ],
    [
      "O-26: the result of the second read is ignored",
      "return issue !== null && mayRun(state, issue, context)",
      "return issue !== null && (entry.wantsSlot || mayRun(state, issue, context))",
    ],
  ),
  ...faults(
    { file: `${orchestrator}/retry.ts`, tests: [`${decisions}/retry.test.ts`], only: "O-2" },
    [
      "O-24: a retry that found no slot does not get the next one",
      "wantsSlot: true });",
      "wantsSlot: false });",
    ],
  ),
  ...faults(
    { file: `${orchestrator}/exit.ts`, tests: [`${decisions}/retry.test.ts`], only: "R-1" },
    [
      "R-1: a stop of the server forgets the retry count",
      '    case "shutdown":\n      return decided(state);\n    case "hold": {',
      '    case "shutdown":\n      return release(state, issue, "shutdown");\n    case "hold": {',
    ],
  ),
  ...faults(
    { file: `${orchestrator}/exit.ts`, tests: [`${decisions}/reconcile.test.ts`], only: "O-34" },
    [
      "O-34: the exit of an earlier attempt ends the live one",
      "if (entry?.attemptId !== input.attemptId) return decided(state);",
      "if (!entry) return decided(state);",
    ],
  ),
  ...faults(
    {
      file: `${orchestrator}/exit.ts`,
      tests: [`${decisions}/retry.test.ts`],
      only: "agent.max_retries",
    },
    [
      "O-18: a failing issue is retried without limit",
      "maxRetries !== null && failures > maxRetries",
      "false",
    ],
  ),
  ...faults(
    { file: `${orchestrator}/state.ts`, tests: [`${decisions}/poll.test.ts`], only: "O-8" },
    [
      "O-8: a running issue is selected again",
      '?.claim ?? "free") === "free";',
      '?.claim?.replace("running", "free") ?? "free") === "free";',
    ],
    [
      "O-8: a blocked issue is selected again",
      '?.claim ?? "free") === "free";',
      '?.claim?.replace("blocked", "free") ?? "free") === "free";',
    ],
  ),
  ...faults(
    { file: `${orchestrator}/dispatch.ts`, tests: [`${decisions}/poll.test.ts`], only: "O-8" },
    [
      "O-8: an issue that waits for its retry is read again before a start",
      "!issue.dispatchable || !isFree(state, issue)) return false;",
      "!issue.dispatchable) return false;",
    ],
  ),
  ...faults(
    { file: `${orchestrator}/choice.ts`, tests: [`${decisions}/fallback.test.ts`] },
    [
      "begun work is moved to another agent without handover",
      "!handover && agents.includes(begun) ? [begun] : agents",
      "agents",
    ],
    [
      "an agent that cannot be started gets work",
      "pauses.get(agent)?.active !== true && !troubles.has(agent)",
      "pauses.get(agent)?.active !== true",
    ],
    [
      "an agent before the chosen one in the list stands in for it",
      "fallback.slice(place + 1)",
      "fallback",
    ],
  ),
  ...faults({ file: `${orchestrator}/step.ts`, tests: [`${decisions}/provider.test.ts`] }, [
    "a pause that no issue waits for is not saved",
    'return decided(state, ...effects, { type: "savePauses", pauses: [...state.pauses.values()] });',
    "return decision;",
  ]),
  ...faults({ file: `${orchestrator}/gates.ts`, tests: [`${decisions}/brakes.test.ts`] }, [
    "the token budget of a day has no effect",
    "if (limit === null || day.tokens < limit) return null;",
    "return null;",
  ]),
  ...faults(
    { file: `${orchestrator}/poll.ts`, tests: [`${decisions}/poll.test.ts`], only: "O-13" },
    [
      "INV-17: an issue read while the server drains is started",
      "    state.draining ||\n    standingOf",
      "    standingOf",
    ],
    [
      "a budget that is used up during the last read has no effect",
      "    shutGate(state, issue, context.config) !== null ||\n",
      "",
    ],
    [
      "O-10: a limit that is lowered during the last read is exceeded",
      " ||\n    !hasSlot(slotsFor(state, context.config), issue)\n",
      "\n",
    ],
  ),
  ...faults(
    { file: `${orchestrator}/decision.ts`, tests: [`${decisions}/poll.test.ts`], only: "INV-14" },
    [
      "INV-14: a late read by id is applied",
      "Math.max(state.fences.get(issueId) ?? 0, state.listFence) > request",
      "(state.fences.get(issueId) ?? 0) > request",
    ],
  ),
  ...faults(
    {
      file: `${orchestrator}/decision.ts`,
      tests: [`${decisions}/closed.test.ts`],
      only: "an older list",
    },
    [
      "INV-14: a late list is applied",
      "Math.max(state.fences.get(issueId) ?? 0, state.listFence) > request",
      "state.listFence > request",
    ],
  ),
  ...faults(
    {
      file: `${orchestrator}/stop.ts`,
      tests: [`${decisions}/operator.test.ts`, `${decisions}/retry.test.ts`],
    },
    [
      "INV-22: the hold of a running issue is not saved before its agent has exited",
      '      { type: "saveRecord", issueId: issue.id },\n      tell("issue.held"',
      '      tell("issue.held"',
    ],
  ),
  ...faults(
    { file: `${orchestrator}/start.ts`, tests: [`${decisions}/reconcile.test.ts`], only: "O-16" },
    ["O-16: the start time of an attempt is 1970", "startedWall: context.wall,", "startedWall: 0,"],
    ["O-16: each attempt has number 1", "number: prior.count + 1,", "number: 1,"],
  ),
  ...faults({ file: `${orchestrator}/start.ts`, tests: [`${decisions}/reconcile.test.ts`] }, [
    "INV-4: two attempts have one id",
    "Math.max(state.lastAttemptStamp + 1, context.wall)",
    "context.wall",
  ]),
  ...faults(
    { file: `${orchestrator}/report.ts`, tests: [`${decisions}/report.test.ts`] },
    [
      "E-1: an event has no session id",
      "tell(text.type, next.issue, { attemptId: next.attemptId, sessionId: next.sessionId, ...text })",
      "tell(text.type, next.issue, { attemptId: next.attemptId, ...text })",
    ],
    [
      "E-1: a malformed line is not reported as malformed",
      "data: { malformed: event.malformed }",
      "data: { malformed: false }",
    ],
    [
      "E-2: an event does not count as activity",
      "lastEventAt: now, lastEventWall: wall }",
      "lastEventAt: entry.lastEventAt, lastEventWall: wall }",
    ],
    ["E-2: the last message is not kept", "    lastMessage: text.message,\n", ""],
    [
      "E-2: events of an earlier attempt count for the live one",
      "entry?.attemptId === input.attemptId && entry.stopping",
      "entry && entry.stopping",
    ],
  ),
  ...faults(
    { file: `${orchestrator}/snapshot.ts`, tests: [`${decisions}/snapshot.test.ts`] },
    [
      "E-13: reading sorts the queue itself",
      "const queue = state.queue.filter(",
      "const queue = (state.queue as Issue[]).sort().filter(",
    ],
    [
      "E-13: retries are not sorted by their due time",
      "[...retrying.values()].sort((a, b) => a.dueAt - b.dueAt)",
      "[...retrying.values()]",
    ],
    [
      "E-13: the provider's limits are not shown",
      "    rateLimits: state.rateLimits,\n",
      "    rateLimits: null,\n",
    ],
  ),
  ...faults({ file: `${orchestrator}/records.ts`, tests: [effects], only: "R-2" }, [
    "R-2: a first attempt that a stop interrupted counts as a retry",
    'if (attempt === null || stopping?.leadsTo === "release") return null;\n  const retry = { attempt, failures,',
    'if (stopping?.leadsTo === "release") return null;\n  const retry = { attempt: attempt ?? 1, failures,',
  ]),
  ...faults({ file: `${orchestrator}/exit.ts`, tests: [effects], only: "P-8" }, [
    "P-8: a template that cannot be rendered is tried again",
    "if (isPromptFault(exit.code)) return holdForPrompt(state, entry, { exit, context });",
    "if (isPromptFault(exit.message)) return holdForPrompt(state, entry, { exit, context });",
  ]),
  ...faults({ file: `${orchestrator}/orchestrator.ts`, tests: [`${decisions}/storage.test.ts`] }, [
    "FAULT-9: an operator's request takes effect before it is saved",
    "await this.#ports.saveRecordFirst(",
    "void this.#ports.saveRecordFirst(",
  ]),
  ...faults({ file: `${orchestrator}/operations.ts`, tests: [`${decisions}/operations.test.ts`] }, [
    "FAULT-9: an issue is released before the release is saved",
    "if (!isRunning) return orchestrator.applySaved(issue.id, input);",
    "if (!isRunning) return orchestrator.apply(input);",
  ]),
  ...faults({ file: `${orchestrator}/reconcile.ts`, tests: [`${decisions}/reconcile.test.ts`] }, [
    "FAULT-15: a standstill counts as silence",
    "startedAt, lastEventAt: now }",
    "startedAt }",
  ]),
  ...faults({ file: `${orchestrator}/operations.ts`, tests: ["test/server/unsaved.test.ts"] }, [
    "FAULT-9: an abort returns before its hold is saved",
    "await tookEffect(stopped, ",
    "void tookEffect(stopped, ",
  ]),
  ...faults({ file: `${orchestrator}/orchestrator.ts`, tests: [`${decisions}/storage.test.ts`] }, [
    "FAULT-9: an attempt that is not saved is started",
    "if (isSaved && storage === null) return this.#startAttempt(order);",
    "if (isSaved || order) return this.#startAttempt(order);",
  ]),
  ...faults(
    {
      file: `${orchestrator}/operations.ts`,
      tests: [`${decisions}/operations.test.ts`],
      only: "FAULT-9: an answer",
    },
    [
      "FAULT-9: a refused answer is delivered anyway",
      '    } catch (error) {\n      history.dropSteer(steer.id);\n      throw error;\n    }\n    return { ...answered, applies: "next_attempt" };',
      '    } catch (error) {\n      throw error;\n    }\n    return { ...answered, applies: "next_attempt" };',
    ],
  ),
  ...faults(
    { file: `${orchestrator}/explain.ts`, tests: [`${decisions}/simulation.test.ts`] },
    [
      "a completed issue passes all gates and is never started",
      'if (row?.claim !== "completed") return [];',
      "if (row) return [];",
    ],
    [
      "a tracker that fails is no gate",
      'own || claim === "retrying" || notRead === null',
      "own || notRead !== undefined",
    ],
    [
      "an issue starts beside a closed gate",
      "own || shut === null, { detail: shut?.detail ?? open, opens });",
      "own || shut === undefined, { detail: shut?.detail ?? open, opens });",
    ],
  ),
  ...faults({ file: `${orchestrator}/refill.ts`, tests: [`${decisions}/simulation.test.ts`] }, [
    "INV-7: a retry that is not due takes a free slot",
    "wantsSlot && checking === null",
    "checking === null",
  ]),
  ...faults(
    { file: `${orchestrator}/poll.ts`, tests: [`${decisions}/simulation.test.ts`] },
    [
      "an issue starts while the tracker is said to fail",
      "recovered(closeRequest(fenced, request)),",
      "decided(closeRequest(fenced, request)),",
    ],
    [
      "INV-20: a failed read of running issues is taken for one that shows none of them",
      "return andThen(troubled(closeRequest(state, input.request), input.error), preflight);",
      'return andThen(reconcile(state, { ids: [...state.issues.of("running").keys()], issues: [], request: input.request }, context), (next) => andThen(troubled(closeRequest(next, input.request), input.error), preflight));',
    ],
  ),
  ...faults({ file: `${orchestrator}/exit.ts`, tests: [`${decisions}/simulation.test.ts`] }, [
    "INV-11: a late exit of an attempt ends its successor, which ends again",
    "if (entry?.attemptId !== input.attemptId) return decided(state);",
    "if (!entry) return decided(state);",
  ]),
  ...faults(
    { file: `${orchestrator}/report.ts`, tests: [`${decisions}/simulation.test.ts`] },
    [
      "INV-15: tokens that are reported twice count twice",
      "threadTokens: highWater(entry.threadTokens, event.total),",
      "threadTokens: event.total,",
    ],
    [
      "INV-15: the total of tokens is not the sum over the attempts",
      "const tokens = tokensAdded(before.threadTokens, event.total);",
      "const tokens = event.total;",
    ],
  ),
  ...faults({ file: "src/core/model/attempt.ts", tests: [`${decisions}/simulation.test.ts`] }, [
    "INV-15: the total of tokens decreases",
    "Math.max(now - old, 0)",
    "now - old",
  ]),
];
