import { join } from "node:path";
import { type AgentKind, AgentRuntimes, type RuntimesOptions } from "./agent/kinds.ts";
import { ModelList } from "./agent/models.ts";
import { learnedIn } from "./agent/openai/learned.ts";
import { openRecovery, type Recovery } from "./attempt/recovery.ts";
import { systemClock } from "./clock.ts";
import { type Config, secretNamesOf } from "./config/config.ts";
import { withoutCredentials } from "./config/overlay.ts";
import type { ConfigService } from "./config/service.ts";
import type { CoreOptions } from "./core.ts";
import { auditDecisions } from "./decision-audit.ts";
import { prepareBy } from "./delivery/checks.ts";
import type { Remotes } from "./delivery/remotes.ts";
import { type Bus, createBus } from "./events/bus.ts";
import type { Logger } from "./events/log.ts";
import { Recorder } from "./journal/recorder.ts";
import { messageOf } from "./model/errors.ts";
import type { EventDraft } from "./model/event.ts";
import { agentEnvironment } from "./process/environment.ts";
import { loginEnvironment } from "./process/login.ts";
import { runIdOf } from "./process/table.ts";
import { Mirrors } from "./repository/mirrors.ts";
import { repositoryFor } from "./repository/routing.ts";
import { noAuditKeys } from "./store/audit.ts";
import { openIssueRecords } from "./store/documents.ts";
import { openHistory } from "./store/history.ts";
import { NamedTokens } from "./store/named-tokens.ts";
import { openAgentPauses, openPause } from "./store/pause.ts";
import { repeatedStore } from "./store/repeated.ts";
import { SaveQueue } from "./store/saves.ts";
import type { History, Store } from "./store/store.ts";
import { openTemplates } from "./store/templates.ts";
import type { Tracker } from "./tracker/tracker.ts";
import { readBaseline } from "./workspace/baseline.ts";
import { KeptCopies } from "./workspace/copies.ts";
import { type BranchBook, fillWorkspace, keepApart } from "./workspace/fill.ts";
import { writeHookCommand } from "./workspace/hook-command.ts";
import { type AwayRun, commandVariable } from "./workspace/hooks.ts";
import { recordedPlaces } from "./workspace/owner.ts";
import { Prepared } from "./workspace/prepared.ts";
import { OwnRoots } from "./workspace/roots.ts";
import { createWorkspaces, type HookFailure, type SetAside } from "./workspace/workspaces.ts";

interface OpenHostsDeps {
  readonly kinds: readonly AgentKind[];
  readonly closers: Closers;
  onTrouble(message: string): void;
}

/** The agents that outlive servers, and the attempts they work on. */
export async function openHosts(
  { dataDir, clock }: CoreOptions,
  { kinds, closers, onTrouble }: OpenHostsDeps,
): Promise<Recovery> {
  const recovery = await openRecovery({ kinds, dataDir, clock, onTrouble });
  closers.push(() => recovery.close());
  return recovery;
}

export function openRoots(options: CoreOptions, { closers }: { closers: Closers }): OwnRoots {
  const roots = new OwnRoots(options);
  closers.push(() => roots.release());
  return roots;
}

interface OpenWorkspacesDeps {
  config(): Config;
  tracker(): Tracker;
  lookup(name: string): string | undefined;
  readonly bus: Bus;
  /** Aborting it ends the hooks that still run. */
  readonly signal: AbortSignal;
  onSetAside(aside: SetAside): void;
  isAtWork(path: string): boolean;
  readonly history: Pick<History, "latestAttempt" | "workspacePlaceAt" | "workspacePlacesOf">;
  readonly roots: OwnRoots;
  /** As `WorkspacesOptions` has it. */
  away(run: AwayRun): Promise<unknown> | null;
  readonly mirrors: Mirrors;
  readonly branches: BranchBook;
  /** Whether the remote has the commit that is checked out. */
  isDelivered(path: string, issueId: string): Promise<boolean>;
  readonly remotes: Pick<Remotes, "remake" | "siteCredential">;
}

/** The mirrors of all remotes. */
export function openMirrors({ dataDir, clock, env }: CoreOptions): Mirrors {
  // No agent may write below the data directory, and it reads there only what its session names.
  return new Mirrors({ dir: join(dataDir, "mirrors"), clock, env });
}

/**
 * The workspaces of the current configuration, filled by its repositories and hooks, and the copies
 * of what they held when they were removed.
 */
export function openWorkspaces(options: CoreOptions, deps: OpenWorkspacesDeps) {
  const { clock, log, env, dataDir, redactor } = options;
  const { config, tracker, lookup, bus, signal, mirrors, branches } = deps;
  const copies = new KeptCopies({
    dir: join(dataDir, "kept"),
    clock,
    maxBytes: () => config().workspace.keepMaxBytes,
    async lentTo(path) {
      const loan = (await readBaseline(path))?.loan ?? null;
      if (loan === null) return null;
      const of = (mirror: string) => mirrors.lent({ mirror }).path;
      const submodules = loan.submodules ?? [];
      return {
        mirror: of(loan.mirror),
        submodules: submodules.map(({ path: at, mirror }) => ({ path: at, mirror: of(mirror) })),
      };
    },
  });
  const commandDir = writeHookCommand(dataDir);
  const run = prepareBy({
    ...{ clock, env, dataDir, config, runId: runIdOf(dataDir, "prepare") },
    secretNames: () => secretNamesOf(config(), tracker()),
  });
  const prepared = new Prepared({ dir: join(dataDir, "prepared"), run });
  const workspaces = keepApart(
    createWorkspaces({
      settings: () => ({ root: config().workspace.root, hooks: config().hooks }),
      env: () => hookEnvironment(options, config(), tracker(), commandDir),
      clock,
      log,
      onHookFailed: (failure) => bus.publish(hookFailed(failure)),
      onSetAside: (aside) => deps.onSetAside(aside),
      isAtWork: (path) => deps.isAtWork(path),
      away: (run) => deps.away(run),
      recordedPlaces: (id) => recordedPlaces(deps.history, id),
      recordedOwner: (path) => deps.history.workspacePlaceAt(path)?.issueId ?? null,
      own: (root) => deps.roots.own(root),
      copies,
      delivered: (path, issueId) => deps.isDelivered(path, issueId),
      fill: fillWorkspace({
        git: () => config().git,
        ...{ env, clock, lookup, mirrors, branches, prepared },
        learn: (secret) => redactor.add(secret),
        redact: (text) => redactor.redact(text),
        siteCredential: (repository) => deps.remotes.siteCredential(repository),
        runId: runIdOf(dataDir, "hook"),
        onClone: (clone) => options.onClone?.(clone),
      }),
      hasRepository: (issue) => repositoryFor(issue, config().git.repositories) !== null,
      mirrors: {
        ...{ dir: mirrors.dir, release: (loan) => mirrors.release(loan) },
        async repair(path, loan) {
          await deps.remotes.remake(loan);
          return mirrors.repair(path, loan);
        },
        repairSubmodules: (path, loan) => mirrors.repairSubmodules(path, loan),
      },
      prepared,
      signal,
    }),
  );
  return { workspaces, copies };
}

function hookFailed({ hook, issue, error }: HookFailure): EventDraft {
  return {
    type: "hook.failed",
    issueId: issue?.id ?? null,
    issueIdentifier: issue?.identifier ?? null,
    message: error.message,
    data: { hook, code: error.code, ...error.details },
  };
}

/** Hooks get an agent's environment, without any credential of the tracker, and what their `symphony` needs. */
/** What the user's shell exports, secrets taken out, below what the server passes on. */
async function hookEnvironment(
  { env, dataDir, url }: CoreOptions,
  config: Config,
  tracker: Tracker,
  commandDir: string,
): Promise<Record<string, string>> {
  const secretNames = secretNamesOf(config, tracker);
  const inherited = agentEnvironment({
    ...{ env, secretNames, runId: runIdOf(dataDir, "hook") },
    passthrough: config.hooks.envPassthrough,
  });
  const login = await loginEnvironment(inherited);
  const shown = Object.entries(login).flatMap(([name, value]) =>
    value === undefined || secretNames.includes(name) ? [] : [[name, value] as const],
  );
  const where = { SYMPHONY_DATA_DIR: dataDir, SYMPHONY_URL: url?.() ?? "" };
  return { ...Object.fromEntries(shown), ...where, [commandVariable]: commandDir };
}

/** How to close what was opened, in the order of opening. */
export type Closers = (() => unknown)[];

/** Closes in reverse order of opening; a failure does not prevent the others from being closed. */
export async function closeAll(closers: Closers, log: Logger): Promise<void> {
  for (const close of closers.splice(0).reverse()) {
    try {
      await close();
    } catch (error) {
      log.error("closing failed", { reason: messageOf(error) });
    }
  }
}

type OpenRuntimesDeps = Pick<
  RuntimesOptions,
  "kinds" | "config" | "lookup" | "hosts" | "onTrouble"
>;

/** The agents of a running server. */
export function openRuntimes(
  { clock, env, dataDir, redactor }: CoreOptions,
  deps: OpenRuntimesDeps,
): AgentRuntimes {
  return new AgentRuntimes({
    ...deps,
    hide: (value) => redactor.add(value),
    ...{ clock, env, dataDir },
  });
}

interface OpenModelsDeps {
  readonly kinds: readonly AgentKind[];
  config(): Config;
  /** The value behind `$NAME`. */
  lookup(name: string): string | undefined;
  secretEnvNames(): readonly string[];
}

/** The model list of a running server; a key that it uses is redacted from then on. */
export function openModels(options: CoreOptions, deps: OpenModelsDeps): ModelList {
  const { clock, env, version, redactor, dataDir } = options;
  return new ModelList({
    ...{ clock, env, version, runId: runIdOf(dataDir, "models") },
    learned: learnedIn(dataDir, clock),
    ...deps,
    lookup(name) {
      const value = deps.lookup(name);
      if (value !== undefined) redactor.add(value);
      return value;
    },
  });
}

/**
 * Opens the durable stores in `dir`, which exists and which this process has locked
 * (`lockDataDir`). Rejects with `storage_corrupt` or `storage_unavailable`, and then holds nothing
 * open.
 */
export async function openStore(
  dir: string,
  auditKeys = noAuditKeys,
  clock = systemClock,
): Promise<Store> {
  const records = await openIssueRecords(dir);
  const templates = await openTemplates(dir);
  const pause = await openPause(dir);
  const agentPauses = await openAgentPauses(dir);
  const tokens = await NamedTokens.open(dir, clock);
  const history = openHistory(join(dir, "history.db"), auditKeys);
  return {
    records,
    history,
    templates,
    pause,
    agentPauses,
    tokens,
    async close() {
      await records.settled();
      await templates.settled();
      await pause.settled();
      await agentPauses.settled();
      await tokens.settled();
      history.close();
    },
  };
}

/** The limit of unsaved writes that the log names. */
const unsavedNamed = 20;

/** The store, with refused writes repeated. Writes that fail until the end are named in the log. */
export function openSaves(
  { clock, log }: CoreOptions,
  { store, closers }: { readonly store: Store; readonly closers: Closers },
) {
  const saves = new SaveQueue(clock);
  let lost: readonly string[] = [];
  closers.push(async () => {
    lost = await saves.close();
    if (lost.length === 0) return;
    const unsaved = lost.slice(0, unsavedNamed).join(", ");
    log.error("the disk refused writes until the end: not saved", { count: lost.length, unsaved });
  });
  return { saves, store: repeatedStore(store, saves), unsaved: () => lost };
}

interface AuditDeps {
  readonly bus: Bus;
  readonly history: Store["history"];
  readonly log: CoreOptions["log"];
  readonly wall: number;
}

/** Closes audit entries that a crash left open, then records symphony's own decisions. */
export function openAudit({ bus, history, log, wall }: AuditDeps): void {
  const unended = history.endAuditIntents(wall);
  if (unended > 0) log.warn("a crash interrupted requests", { interrupted: unended });
  auditDecisions({ bus, history, log });
}

/** The series of events, stored in `history`; writes that fail are reported to `saves`. */
export function openBus(
  { clock, log, redactor }: CoreOptions,
  history: Store["history"],
  saves: SaveQueue,
) {
  return createBus({
    history,
    clock,
    redact: (text) => redactor.redact(text),
    onError: (error) => log.error("event series", { reason: messageOf(error) }),
    onOutage: (error) => saves.tell("events", error),
  });
}

interface RecorderDeps {
  readonly config: ConfigService;
  readonly bus: Bus;
  readonly closers: Closers;
}

/** Records what the scheduler decides; a disk that refuses it is reported once and stops nothing. */
export function openRecorder(
  { clock, log, dataDir, redactor, version }: CoreOptions,
  { config, bus, closers }: RecorderDeps,
): Recorder {
  const redact = (text: string) => redactor.redact(text);
  const recorder = new Recorder({
    ...{ clock, version, redact, file: join(dataDir, "record.db") },
    secretsKnown: () => redactor.known(),
    lastEvent: () => bus.lastSeq,
    shown() {
      const { written, origins } = config.current;
      return { config: withoutCredentials(written, redact), origins };
    },
    days: () => config.current.config.history.retentionDays,
    onTrouble(reason) {
      if (reason === null) log.info("decisions are recorded again", { lost: recorder.lost });
      else log.error("decisions are not recorded", { reason });
    },
  });
  closers.push(() => recorder.close());
  return recorder;
}
