import { availableParallelism, homedir, hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { systemClock } from "../core/clock.ts";
import { passwordsIn } from "../core/config/fleet.ts";
import { createLogger, streamSink } from "../core/events/log.ts";
import type { PreparePlace } from "../core/fleet/hosted.ts";
import { fleetOf, type Identity, joinFleet, storedIdentity } from "../core/fleet/join.ts";
import { addressOf, openEngine } from "../core/fleet/opening.ts";
import { runWorker } from "../core/fleet/worker.ts";
import { kinds } from "../core/kinds.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { version } from "../core/package.ts";
import { lockDataDir } from "../core/store/lock.ts";
import { createRedactor } from "../core/text/redact.ts";
import type { CommandContext } from "./context.ts";
import { leaveSoon, stopCode, stopSignal } from "./stop.ts";

interface Given {
  readonly join: string;
  readonly name: string | undefined;
  readonly label: readonly string[];
  readonly capacity: number | undefined;
  readonly dir: string | undefined;
}

/** What the worker joins with the first time; no agent sees it. */
const tokenVariable = "SYMPHONY_WORKER_TOKEN";

/** `symphony worker`: runs until SIGINT or SIGTERM, or until the server lets the worker go. */
export async function workerProcess(given: Given, io: CommandContext): Promise<number> {
  const { env } = io;
  const name =
    given.name ??
    (hostname()
      .replaceAll(/[^\w.-]/g, "-")
      .slice(0, 63) ||
      "worker");
  const dir = resolve(given.dir ?? join(env["HOME"] ?? homedir(), ".symphony", "workers", name));
  const redactor = createRedactor();
  const url = urlOf(given.join, env);
  const token = env[tokenVariable]?.trim() || null;
  for (const secret of [token, ...passwordsIn(url)]) if (secret) redactor.add(secret);
  const address = addressOf(url);
  const log = createLogger({
    level: io.debug ? "debug" : io.quiet ? "warn" : "info",
    format: "logfmt",
    sinks: [streamSink("stderr", io.stderr)],
    clock: systemClock,
    redact: (text) => redactor.redact(text),
  });
  const signal = stopSignal();
  const lock = await lockDataDir(dir);
  try {
    const stored = await storedIdentity(dir);
    await using engine = await openEngine(url, { fleet: fleetFor(stored, token, dir) });
    const identity = stored ?? (await joinFleet(engine, { token: token ?? "", name, dir, signal }));
    log.info(stored ? "the worker returns to its fleet" : "the worker has joined the fleet", {
      ...{ worker: identity.name, engine: address },
    });
    // No agent, and nothing that it starts, gets what the worker itself joins with.
    const own = { ...env, [tokenVariable]: undefined, [variableIn(given.join) ?? ""]: undefined };
    await runWorker({
      ...{ engine, identity, dir, signal, kinds: kinds.agents, clock: systemClock },
      env: own,
      prepare: (line, place) => prepareCopy(line, place, { dir, env: own }),
      labels: [...new Set(given.label ?? [])],
      capacity: given.capacity ?? availableParallelism(),
      version: version(),
      hide: (value) => redactor.add(value),
      log: (message, fields) => log.info(message, fields ?? {}),
    });
    return stopCode(signal);
  } finally {
    await lock.release();
    leaveSoon();
  }
}

function variableIn(text: string): string | null {
  return /^\$([A-Za-z_]\w*)$/.exec(text)?.[1] ?? null;
}

/** `fleet.prepare`, confined as `prepare` of a repository is: the copy holds what agents wrote. */
export async function prepareCopy(
  line: string,
  { path, runId, timeoutMs, spec, signal, tell }: PreparePlace,
  { dir, env }: { dir: string; env: NodeJS.ProcessEnv },
): Promise<string | null> {
  const { prepareBy } = await import("../core/delivery/checks.ts");
  const { level, readable = [], bounds, secretEnvNames, network } = spec;
  const agent = {
    ...{ level, readable },
    maxProcesses: bounds?.maxProcesses ?? 0,
    maxMemory: bounds?.maxMemoryBytes ?? 0,
    maxFileSize: bounds?.maxFileBytes ?? 0,
  };
  const run = prepareBy({
    ...{ clock: systemClock, env, dataDir: dir, runId, key: "fleet.prepare" },
    network: level === "networked" ? network : null,
    config: () => ({ agent, hooks: { envPassthrough: [] }, workspace: { root: dirname(path) } }),
    secretNames: () => secretEnvNames,
  });
  const failed = await run({ path, signal, tell }, { commands: [line], timeoutMs });
  return failed === null ? null : failed.output;
}

/** Whoever lists the processes of the machine sees what is typed, so a password is not. */
function urlOf(text: string, env: CommandContext["env"]): string {
  const variable = variableIn(text);
  if (variable === null) {
    if (passwordsIn(text).length === 0) return text;
    throw new SymphonyError(
      "usage",
      "--join has a password, which every user of this machine could see",
      {
        hint: "put the URL into a variable and write --join '$FLEET_URL'",
      },
    );
  }
  const value = env[variable];
  if (value) return value;
  throw new SymphonyError("usage", `--join names the variable ${variable}, which is not set`, {
    hint: `export ${variable}=rediss://user:password@redis.example.com:6379`,
  });
}

function fleetFor(stored: Identity | null, token: string | null, dir: string): string {
  if (stored !== null) {
    if (token === null || fleetOf(token) === stored.fleet) return stored.fleet;
    throw new SymphonyError("worker_refused", `${dir} is a worker of another fleet`, {
      hint: "join with another --dir",
    });
  }
  if (token !== null) return fleetOf(token);
  throw new SymphonyError(
    "usage",
    `${dir} has not joined a fleet, and ${tokenVariable} is not set`,
    {
      hint: "symphony workers invite, on the server, writes a token",
    },
  );
}
