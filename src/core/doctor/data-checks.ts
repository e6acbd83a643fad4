import { constants } from "node:fs";
import { access, chmod, lstat, open, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { wholeText } from "../answers.ts";
import { hostLimitsOf, hostSection, storageSection } from "../config/host.ts";
import { readOverlay } from "../config/service.ts";
import { deliveryMigrations } from "../delivery/store.ts";
import { hostPlaces, type Shortage, shortagesOf } from "../host.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { notifyMigrations } from "../notify/store.ts";
import { outbound } from "../outbound.ts";
import { sampleHost } from "../process/host.ts";
import { inspectDatabase } from "../store/database.ts";
import { readIssueRecords } from "../store/documents.ts";
import { readPlain } from "../store/durable.ts";
import { type DirectoryLock, isFull, lockDataDir } from "../store/lock.ts";
import { requireKept } from "../store/manifest.ts";
import { readAgentPauses, readPause } from "../store/pause.ts";
import { historyMigrations } from "../store/schema.ts";
import { readTemplates } from "../store/templates.ts";
import { isObject, parseJson, shellQuoted } from "../text/text.ts";
import { webhookMigrations } from "../tracker/deliveries.ts";
import { issueMigrations } from "../tracker/local/table.ts";
import type { Project } from "./project.ts";
import { type Answer, fail, failure, notAsked, ok, warn, worst } from "./result.ts";

/** Who has the data directory. */
export interface Holding {
  /** null: it does not exist yet, cannot be locked, or a server has it. */
  readonly lock: DirectoryLock | null;
  /** The server of this project, which answers. */
  readonly server: { readonly url: string; readonly pid: number } | null;
  readonly fault: SymphonyError | null;
}

const answerMs = 10_000;

/** Takes the data directory's lock for the time of the checks, unless the project's own server runs. */
export async function holdDataDir(dataDir: string): Promise<Holding> {
  if (!(await exists(dataDir))) return { lock: null, server: null, fault: null };
  try {
    return { lock: await lockDataDir(dataDir), server: null, fault: null };
  } catch (error) {
    if (!(error instanceof SymphonyError)) throw error;
    const { url, pid } = error.details;
    const isServer = error.code === "data_dir_locked" && typeof url === "string";
    if (isServer && typeof pid === "number" && (await answers(url, pid))) {
      return { lock: null, server: { url, pid }, fault: null };
    }
    return { lock: null, server: null, fault: error };
  }
}

/** A server that requires a token answers 401. */
async function answers(url: string, pid: number): Promise<boolean> {
  try {
    const { status, body } = await asked(url, "/api/v1/runtime", {});
    return status === 401 || (isObject(body) && body["pid"] === pid);
  } catch {
    return false;
  }
}

/** What a server of this machine answers. */
async function asked(url: string, path: string, headers: Readonly<Record<string, string>>) {
  const signal = AbortSignal.timeout(answerMs);
  const response = await outbound(`${url}${path}`, { signal, headers });
  const text = await wholeText(response.body, { host: url, kind: "other" });
  return { status: response.status, body: parseJson(text) };
}

const Polled = z.object({
  polling: z.object({
    last_poll_at: z.string().nullable(),
    last_error: z.object({ code: z.string(), message: z.string() }).nullable(),
  }),
});

/** How the running server last read its tracker; null: it does not say. */
export async function polledBy({ url }: { readonly url: string }, dataDir: string) {
  try {
    const runtime = parseJson(await readPlain(join(dataDir, "runtime.json")));
    const token = isObject(runtime) ? runtime["token"] : null;
    const own = typeof token === "string" ? { authorization: `Bearer ${token}` } : {};
    return Polled.parse((await asked(url, "/api/v1/state?limit=1", own)).body).polling;
  } catch {
    return null;
  }
}

export async function checkDataDir({ dataDir }: Project, holding: Holding): Promise<Answer> {
  const { server, fault } = holding;
  if (await isFull(dataDir)) return notAsked(`${dataDir} is on a disk that is full`);
  if (server !== null) {
    return ok(
      `${dataDir} is in use by the server of this project (${server.url}, pid ${server.pid})`,
    );
  }
  if (fault !== null) return failure(fault);
  if (holding.lock === null) return checkParent(dataDir);
  const left = await leftovers(dataDir);
  const open = await openToOthers(dataDir);
  const found = [
    ...left.map((file) => warn(`${file} is left over from a server that is gone`, fixCommand)),
    ...open.map((path) => warn(`other users of this machine can read ${path}`, fixCommand)),
  ];
  return found.length === 0 ? ok(`${dataDir} can be written, and no server has it`) : worst(found);
}

const fixCommand = "symphony doctor --fix";

async function checkParent(dataDir: string): Promise<Answer> {
  for (let dir = dirname(dataDir); ; dir = dirname(dir)) {
    if (!(await exists(dir)) && dir !== dirname(dir)) continue;
    try {
      await access(dir, constants.W_OK | constants.X_OK);
      return ok(`${dataDir} does not exist yet: the first start makes it`);
    } catch (error) {
      const message = `${dataDir} cannot be made: ${messageOf(error)}`;
      return fail("storage_unavailable", message, "symphony doctor --data-dir DIR");
    }
  }
}

/** Files by which a server is found, whose server has ended without removing them. The caller has the lock. */
async function leftovers(dataDir: string): Promise<readonly string[]> {
  const file = join(dataDir, "runtime.json");
  return (await exists(file)) ? [file] : [];
}

const privateFiles = [
  "",
  "secrets.key",
  "secrets.json",
  "overlay.json",
  "history.db",
  "record.db",
  "tokens.json",
  "fleet.json",
];

async function openToOthers(dataDir: string): Promise<readonly string[]> {
  const found = privateFiles.map(async (name) => {
    const path = name === "" ? dataDir : join(dataDir, name);
    const facts = await lstat(path).catch(() => null);
    // In a directory that is closed to others its files are, too.
    const isOpen = facts !== null && !facts.isSymbolicLink() && (facts.mode & 0o077) !== 0;
    return isOpen ? [path] : [];
  });
  const all = (await Promise.all(found)).flat();
  return all.includes(dataDir) ? all : [];
}

/** Mends what is safe to mend; the caller has the lock. Returns what was done, in words. */
export async function fixDataDir(dataDir: string): Promise<readonly string[]> {
  const done: string[] = [];
  for (const file of await leftovers(dataDir)) {
    await rm(file, { force: true });
    done.push(`removed ${file}, left over from a server that is gone`);
  }
  for (const path of await openToOthers(dataDir)) {
    await chmod(path, path === dataDir ? 0o700 : 0o600);
    done.push(`closed ${path} to other users (chmod ${path === dataDir ? "700" : "600"})`);
  }
  return done;
}

/** Without a configuration, by the limits that hold when none are set. */
export async function checkDisk({ dataDir, checked }: Project): Promise<Answer> {
  if (await isFull(dataDir)) {
    const message = `there is no space left on the disk of ${dataDir}`;
    return fail("storage_unavailable", message, `df -h ${shellQuoted(dataDir)}`);
  }
  const config = checked?.effective.config;
  const limits = config?.host ?? hostLimitsOf(storageSection.parse({}), hostSection.parse({}));
  const places = config ? hostPlaces(config, dataDir) : { paths: [dataDir] };
  const sample = await sampleHost(places);
  const short = shortagesOf(sample, limits, []);
  const disks = short.filter(({ name }) => name.startsWith("disk "));
  const say = (all: readonly Shortage[]) =>
    `new work waits: ${[...new Set(all.map(({ text }) => text))].join("; ")}`;
  if (sample.refusal !== null)
    return fail(null, say(short), "let this user write there, or set workspace.root");
  if (disks.length > 0) return fail(null, say(disks), "free space, or set storage.min_free");
  if (short.length > 0)
    return warn(say(short), "end other programs, or set host.max_load or host.min_memory");
  const [disk] = sample.disks;
  const free =
    disk === undefined ? "unknown" : `${(disk.freeBytes / 1024 ** 3).toFixed(1)} GiB free`;
  return ok(free);
}

export function checkSecrets({ secrets, secretsFault, dataDir }: Project): Answer {
  if (secretsFault !== null) return failure(secretsFault);
  const names = secrets?.names() ?? [];
  if (names.length === 0) return ok(`none are stored in ${dataDir}`);
  return ok(`${names.length} can be opened: ${names.join(", ")}`);
}

/** Every file that a start would refuse, each with its own fault. */
export async function checkFiles(
  { dataDir, overlayFault }: Project,
  holding: Holding,
): Promise<Answer> {
  if (!(await exists(dataDir))) return notAsked("there are none yet");
  if (holding.fault !== null) return notAsked("the data directory cannot be used");
  const isOurs = holding.lock !== null;
  const found = await faultsOf(dataDir, {
    isOurs,
    overlay: () => (overlayFault === null ? readOverlay(dataDir) : Promise.reject(overlayFault)),
  });
  return found.length > 0
    ? worst(found.map(failure))
    : ok("every file of the data directory can be read");
}

/** The columns of `delivery.db` that hold JSON. */
const deliveryJson = [
  "deliveries.body",
  "feedback.body",
  "conversations.body",
  "outbox.payload",
] as const;

/** Rejects with the first fault of the files of a directory that no other process writes. */
export async function requireReadable(dir: string): Promise<void> {
  const [fault] = await faultsOf(dir, { isOurs: true, overlay: () => readOverlay(dir) });
  if (fault !== undefined) throw fault;
}

async function faultsOf(
  dataDir: string,
  { isOurs, overlay }: { readonly isOurs: boolean; overlay(): Promise<unknown> },
): Promise<readonly unknown[]> {
  const databases: readonly (readonly [string, readonly string[], (readonly string[])?])[] = [
    ["history.db", historyMigrations],
    ["issues.db", issueMigrations],
    ["webhooks.db", webhookMigrations],
    ["delivery.db", deliveryMigrations, deliveryJson],
    ["notify.db", notifyMigrations],
  ];
  const reads = [
    async () => requireKept(dataDir),
    ...databases.map(
      ([name, migrations, json = []]) =>
        async () =>
          inspectDatabase(join(dataDir, name), { migrations, isOurs, json }),
    ),
    () => readIssueRecords(dataDir),
    () => readTemplates(dataDir),
    () => readPause(dataDir),
    () => readAgentPauses(dataDir),
    overlay,
  ];
  const ended = await Promise.allSettled(reads.map(async (read) => read()));
  return ended.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** The end of a file as text; empty where there is none, or a link: what it leads to is no log, and might be a secret. */
export async function tailOf(file: string, bytes: number): Promise<string> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    await using handle = await open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const found = await handle.stat();
    if (!found.isFile()) return "";
    const buffer = Buffer.alloc(Math.min(bytes, found.size));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, found.size - buffer.length);
    return buffer.toString("utf8", 0, bytesRead);
  } catch {
    return "";
  }
}
