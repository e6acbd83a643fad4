import { ofTheAgents } from "./agents.ts";
import { ofTheDelivery } from "./delivery.ts";
import { ofTheEgress } from "./egress.ts";
import { ofTheFleet } from "./fleet.ts";
import { ofTheHosts } from "./hosts.ts";
import { faults, type Mutant } from "./mutant.ts";
import { ofTheRecord } from "./record.ts";
import { ofTheScheduler } from "./scheduler.ts";

const kept = "test/core/workspace/kept.test.ts";
const removal = "test/core/workspace/removal.test.ts";
const failing = "test/core/store/failing-disk.test.ts";
const effects = "test/core/effects.test.ts";

/** Every fault. have none, because they do not apply (docs/requirements.md). */
export const mutants: readonly Mutant[] = [
  ...ofTheRecord,
  ...ofTheScheduler,
  ...ofTheDelivery,
  ...ofTheAgents,
  ...ofTheEgress,
  ...ofTheFleet,
  ...ofTheHosts,
  ...faults(
    { file: "src/core/repository/key.ts", tests: ["test/core/repository/key.test.ts"] },
    [
      "INV-13: two identifiers have one workspace",
      'digest("hex").slice(0, 16)',
      'digest("hex").slice(0, 0)',
    ],
    [
      "INV-13: an identifier that looks hashed has the workspace of another",
      " && !suffixed.test(identifier)",
      "",
    ],
    ["INV-13: a workspace is hidden in the root", 'replace(/^[.-]/, "_")', 'replace(/^[-]/, "_")'],
  ),
  ...faults({ file: "src/core/text/text.ts", tests: ["test/core/tracker/inbox.test.ts"] }, [
    "THREAT-21: the time of a comparison depends on what is given",
    "return timingSafeEqual(digest(given), digest(expected));",
    "return timingSafeEqual === undefined || digest === undefined || given === expected;",
  ]),
  ...faults(
    { file: "src/core/repository/offer.ts", tests: ["test/core/repository/offer.test.ts"] },
    [
      "a secret in the name of a file is pushed",
      "const held = secretOf(path, rules);",
      "const held = rules === null ? secretOf(path, rules) : null;",
    ],
  ),
  ...faults(
    { file: "src/core/store/write-ahead.ts", tests: [failing] },
    [
      "FAULT-9: a commit that could not be synced stays in the journal",
      "if (!this.#db.isTransaction) this.#takeBack();",
      "",
    ],
    [
      "FAULT-9: after a sync that failed, the next one is believed",
      "if (this.#size()) syncAgain(this.#path);",
      "",
    ],
    [
      "FAULT-9: a checkpoint that the disk refused is not known to the next write",
      "if (this.#isBehind) this.#checkpoint();",
      "",
    ],
    [
      "FAULT-9: after the sync of a checkpoint that failed, the next one is believed",
      "this.#isUnsure ||= isFaultOfDisk(error);",
      "",
    ],
  ),
  ...faults({ file: "src/core/store/durable.ts", tests: [failing] }, [
    "FAULT-9: a document that was refused after its rename stays in its place",
    "await replaced?.().catch(() => undefined);",
    "",
  ]),
  ...faults({ file: "src/core/text/defuse.ts", tests: ["test/core/text/defuse.test.ts"] }, [
    "DELIVERY-6: marks of code protect a reference in a commit's message",
    'form === "plain" ? plainOf : proseAndCodeOf',
    "proseAndCodeOf",
  ]),
  ...faults(
    {
      file: "src/core/orchestrator/reconcile.ts",
      tests: ["test/core/orchestrator/completed.test.ts"],
    },
    [
      "INV-21: what a person completed and an overtaken answer shows as closed is not read again",
      'dismissed !== null || standingOf(issue, tracker) !== "terminal"',
      'dismissed === undefined || standingOf(issue, tracker) !== "terminal"',
    ],
  ),
  ...faults(
    { file: "src/core/followers.ts", tests: [kept], only: "O-36" },
    [
      "O-36: start-up clean-up removes nothing",
      "const over = clearAll(issues, deps);",
      "const over = clearAll([], deps);",
    ],
    [
      "O-36: a failed clean-up read stops the start",
      'log.warn("start-up cleanup failed", { outcome: "skipped", reason: messageOf(error) });',
      "throw error;",
    ],
  ),
  ...faults({ file: "src/core/workspace/kept.ts", tests: [kept], only: "no directory" }, [
    "O-36: the clean-up uses the current root instead of the recorded path",
    "for (const path of paths) await one(path, path);",
    "for (const path of paths) if (path === workspaces.pathOf(issue.identifier)) await one(path, path);",
  ]),
  ...faults({ file: "src/core/workspace/kept.ts", tests: [kept], only: "an agent never loses" }, [
    "a clean-up removes the directory of a running agent",
    "      if (isInUse(path)) return;\n",
    "",
  ]),
  ...faults({ file: "src/core/begin.ts", tests: [effects], only: "R-2" }, [
    "O-36: clean-up reads active issues",
    "terminalStates: tracker.terminalStates,",
    "terminalStates: tracker.activeStates,",
  ]),
  ...faults({ file: "src/core/running.ts", tests: ["test/core/early-change.test.ts"] }, [
    "H-1: the server reports 1970 as its start time",
    "startedWall: clock.wall(),",
    "startedWall: 0,",
  ]),
  ...faults({ file: "src/core/effects.ts", tests: [effects], only: "T-1" }, [
    "T-1: the scheduler moves an issue in the tracker",
    "runAttempt: (order, reports) => attempts",
    'runAttempt: (order, reports) => void trackers.tracker.workflow.move(order.issue, "Open") ?? attempts',
  ]),
  ...faults({ file: "src/core/followers.ts", tests: [effects], only: "R-2" }, [
    "R-2: the first poll does not wait for the clean-up",
    "    await limited(over, maxWaitMs, () => {}, clock);\n",
    "",
  ]),
  ...faults({ file: "src/core/workspace/workspaces.ts", tests: [effects], only: "R-2" }, [
    "R-2: a workspace that still exists is created again",
    'if (found === "directory" && (await this.#isFinished(path, issue))) {',
    'if (found === "directory" && path === "") {',
  ]),
  ...faults(
    { file: "src/core/events/bus.ts", tests: ["test/server/listen.test.ts"], only: "H-14" },
    [
      "H-14: a follower that throws stops the events of all followers",
      "      if (!subscriber.reported) this.#report(error);\n",
      "      throw error;\n",
    ],
  ),
  ...faults(
    { file: "src/commands/context.ts", tests: ["test/commands/serve.test.ts"], only: "W-1" },
    [
      "W-1: another file than the named one is served",
      'resolve(where.cwd, workflow ?? "WORKFLOW.md")',
      'resolve(where.cwd, "WORKFLOW.md")',
    ],
  ),
  ...faults(
    { file: "src/commands/daemon.ts", tests: ["test/commands/serve.test.ts"], only: "C-3: a port" },
    ["C-3: a port may be negative", "/^\\d+$/.test(text)", "/^-?\\d+$/.test(text)"],
  ),
  ...faults(
    { file: "src/core/file-checks.ts", tests: ["test/commands/serve.test.ts"], only: "C-3: level" },
    [
      "C-3: level danger needs no acknowledgement",
      "    ({ config }) => checkLevel(config, env),\n",
      "",
    ],
  ),
  ...faults(
    { file: "docs/trackers/linear.md", tests: ["test/requirements.test.ts"], only: "T-12" },
    ["T-12: a profile omits an error", "| `tracker_pagination` |", "| |"],
  ),
  ...faults(
    { file: "docs/trackers/local.md", tests: ["test/requirements.test.ts"], only: "T-12" },
    ["T-12: a profile has no section about paging", "## Scope and paging", "## Scope"],
  ),
  ...faults({ file: "src/core/workspace/removal.ts", tests: [removal], only: "O-31" }, [
    "O-31: a file that changes between the last check and the deletion is deleted",
    "await deleteWhole(path, examinedAt)",
    "await deleteWhole(path, null)",
  ]),
  ...faults(
    { file: "src/core/workspace/removal.ts", tests: [removal], only: "nothing in a root" },
    [
      "a removal does not check which server has the root",
      "    await this.#deps.own?.(dirname(path));\n",
      "",
    ],
  ),
  ...faults(
    { file: "src/core/workspace/removal.ts", tests: [removal], only: "a server that stops" },
    [
      "a server that stops accepts an incomplete examination",
      "if (!this.#deps.leaving.aborted) return work;",
      "if (!this.#deps.leaving.aborted || work) return work;",
    ],
  ),
  ...faults({ file: "src/core/workspace/removal.ts", tests: [removal], only: "R-5" }, [
    "R-5: a leftover marker hides work",
    " && (await readBaseline(path)) === null;",
    ";",
  ]),
  ...faults(
    {
      file: "src/core/workspace/removal.ts",
      tests: [kept],
      only: "a workspace with work stays",
    },
    [
      "O-22: a workspace that holds work is removed",
      "const work = force ? [] : await this.workAt(path, found);",
      "const work = force || path ? [] : await this.workAt(path, found);",
    ],
  ),
  ...faults(
    { file: "src/core/workspace/removal.ts", tests: [kept], only: "files that before_remove" },
    [
      "O-22: files that before_remove leaves are removed",
      "if (cleared.work.length > 0) return",
      "if (cleared.work.length < 0) return",
    ],
  ),
  ...faults({ file: "src/core/workspace/removal.ts", tests: [kept], only: "no directory" }, [
    "another issue's workspace is removed",
    "if (baseline !== null && baseline.issueId !== issue.id) return null;",
    "",
  ]),
  ...faults(
    { file: "src/core/workspace/workspaces.ts", tests: ["test/core/workspace/set-aside.test.ts"] },
    [
      "another issue's work at the path is replaced",
      "    if (work.length === 0) {\n      const isForeign",
      "    if (work.length >= 0) {\n      const isForeign",
    ],
    [
      "the directory of a running agent is given to another issue",
      "if (this.#options.isAtWork?.(path)) {",
      "if (this.#options.isAtWork?.(path) === null) {",
    ],
  ),
  ...faults(
    { file: "src/server/access.ts", tests: ["test/server/access.test.ts"], only: "token" },
    [
      "THREAT-21: a prefix of the token is accepted",
      "sameText(given, expected)",
      "expected.startsWith(given)",
    ],
    [
      "a server without a token accepts every request",
      "if (expected !== null && given !== undefined && sameText",
      "if (expected === null || given !== undefined && sameText",
    ],
    [
      "THREAT-6: another user of the machine needs no token",
      "else if (!(await isOwnUser(ctx.req.socket))) requireToken",
      'else if (ctx.path === "") requireToken',
    ],
    [
      "THREAT-4: a server on every address accepts the Host 0.0.0.0",
      "if (!wildcards.has(rules.host)) known.push",
      "known.push",
    ],
  ),
  ...faults(
    { file: "src/server/access.ts", tests: ["test/server/access.test.ts"], only: "proxies" },
    ["THREAT-8: a request through a proxy reaches the API", "    refuseProxies(ctx.req);\n", ""],
    [
      "THREAT-8: a path that begins like a webhook skips the check",
      'startsWith("/webhooks/")) return next();',
      'startsWith("/webhooks")) return next();',
    ],
  ),
  ...faults({ file: "src/server/access.ts", tests: ["test/server/access.test.ts"], only: "Host" }, [
    "THREAT-4: any Host is accepted",
    "    requireHost(ctx.req, rules);\n",
    "",
  ]),
  ...faults(
    {
      file: "src/server/access.ts",
      tests: ["test/server/access.test.ts"],
      only: "other sites' pages",
    },
    [
      "THREAT-5: a page of another origin changes something",
      "    if (!safeMethods.has(ctx.method)) requireOwnPage(ctx);\n",
      "",
    ],
  ),
  ...faults(
    { file: "src/core/secrets/secrets.ts", tests: ["test/core/secrets/secrets.test.ts"] },
    ["X-2: a value that is set is not redacted", "    this.#deps.redactor.add(value);\n", ""],
    [
      "X-2: a value that is read is not redacted",
      "  for (const value of values.values()) redactor.add(value);\n",
      "",
    ],
    [
      "X-8: altered secrets are accepted",
      "if (!isGenuine(document, keys)) throw altered(where.file);",
      "",
    ],
    [
      "a change that the disk refused stays in memory",
      "      low.data = before;\n      throw error;",
      "      throw error;",
    ],
  ),
  ...faults({ file: "src/core/secrets/cipher.ts", tests: ["test/core/secrets/secrets.test.ts"] }, [
    "X-8: one secret's value is accepted as another's",
    "ver: number): Buffer {",
    'ver: number): Buffer {\n  name = "";',
  ]),
  ...faults(
    { file: "src/core/text/redact.ts", tests: ["test/core/text/redact.test.ts"] },
    ["X-2: a value in base64 is shown", "    ...base64,\n", ""],
    [
      "X-2: the rest of the longer of two values is shown",
      "sort((a, b) => b.length - a.length)",
      "sort((a, b) => a.length - b.length)",
    ],
  ),
  ...faults(
    { file: "src/core/store/saves.ts", tests: ["test/core/store/saves.test.ts"] },
    [
      "FAULT-9: a refused write is reported as done",
      "      this.#wait(key, kept, error);\n      return false;",
      "      this.#wait(key, kept, error);\n      return true;",
    ],
    [
      "FAULT-9: an older write completes the work of a newer one",
      "if (kept.version === version) this.#settle(key, kept);\n  }\n\n  /** Another",
      "this.#settle(key, kept);\n  }\n\n  /** Another",
    ],
    [
      "FAULT-9: closing makes no last retry",
      "    await Promise.all(this.#repeat());\n    const lost",
      "    const lost",
    ],
  ),
  ...faults({ file: "src/core/store/audit.ts", tests: ["test/core/store/audit-sealed.test.ts"] }, [
    "THREAT-23: a truncated log is not detected",
    "    writeAuditHead(this.#headFile, this.#head);\n",
    "",
  ]),
  ...faults({ file: "src/core/store/audit.ts", tests: ["test/server/audit-intents.test.ts"] }, [
    "INV-25: a recorded change is reported as interrupted",
    "DELETE FROM audit_intents WHERE id = $intent",
    "DELETE FROM audit_intents WHERE id = -$intent",
  ]),
  ...faults({ file: "src/core/store/manifest.ts", tests: ["test/core/store/manifest.test.ts"] }, [
    "a missing file of the data directory starts empty",
    "if (names.has(name) && namedIn(dir).has(name) && !existsSync(file)) throw lost(dir, [name]);",
    "",
  ]),
  ...faults({ file: "src/core/store/backup.ts", tests: ["test/core/store/backup.test.ts"] }, [
    "a backup is restored without its checksums",
    'if (sum !== text(row, "sha256"))',
    'if (sum === "")',
  ]),
  ...faults(
    { file: "src/core/store/lock.ts", tests: ["test/core/store/lock.test.ts"] },
    [
      "FAULT-11: two servers use one data directory",
      'db.exec("BEGIN EXCLUSIVE");',
      'db.exec("BEGIN");',
    ],
    [
      "THREAT-22: other users may read the data directory",
      "mkdirSync(dir, { recursive: true, mode: 0o700 });",
      "mkdirSync(dir, { recursive: true });",
    ],
  ),
  ...faults({ file: "src/server/app.ts", tests: ["test/server/audit-intents.test.ts"] }, [
    "INV-25: a change is made before its intent is on disk",
    "return end(core.history.auditIntent({ at: requestedAt, ...attempted }));",
    "return end(undefined);",
  ]),
  ...faults(
    { file: "src/server/app.ts", tests: ["test/server/audit-intents.test.ts"], only: "X-2" },
    [
      "X-2: an audit entry shows a secret",
      "const attempted = redactDeep(mutation, safe);",
      "const attempted = mutation;",
    ],
  ),
  ...faults(
    {
      file: "src/core/workspace/work.ts",
      tests: ["test/core/workspace/work.test.ts"],
      only: "work in a clone: two stashes",
    },
    [
      "O-22: stashes do not count as work",
      "refs === null || refs.stashes === 0 ?",
      "refs === null || refs.stashes >= 0 ?",
    ],
  ),
  ...faults(
    {
      file: "src/core/workspace/work.ts",
      tests: ["test/core/workspace/work.test.ts"],
      only: "work in a clone: a commit",
    },
    [
      "O-22: commits that are nowhere else do not count as work",
      "onlyHere === null || onlyHere.commits === 0\n",
      "onlyHere === null || onlyHere.commits >= 0\n",
    ],
  ),
  ...faults(
    {
      file: "src/core/workspace/work.ts",
      tests: ["test/core/workspace/work.test.ts"],
      only: "work in a clone: a repository whose commits",
    },
    [
      "O-22: a state that cannot be determined does not count as work",
      "    ...problems.map((reason) => unknown(reason)),\n",
      "",
    ],
  ),
  ...faults(
    {
      file: "src/core/secrets/secrets.ts",
      tests: ["test/core/secrets/rotation.test.ts"],
      only: "rotate seals",
    },
    ["X-8: a rotation keeps the old key", "    await this.#forget(document);\n", ""],
  ),
  ...faults(
    {
      file: "src/core/secrets/secrets.ts",
      tests: ["test/core/secrets/rotation.test.ts"],
      only: "a key of the environment",
    },
    [
      "X-8: a rotation to the same key is reported as a rotation",
      "    await refuseSameKey(placeOf(before, place), old);\n",
      "",
    ],
  ),
];
