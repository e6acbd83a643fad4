import { existsSync, readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { userInfo } from "node:os";
import { dirname, join, resolve } from "node:path";
import { SymphonyError } from "../core/model/errors.ts";
import { program } from "../core/package.ts";
import { runCommand } from "../core/process/run.ts";
import { shellQuoted } from "../core/text/text.ts";
import { type CommandContext, placeOf, servedProject } from "./context.ts";
import {
  carriedOf,
  type Manager,
  madeBy,
  type ServiceFacts,
  serviceName,
  servicePath,
  serviceText,
} from "./service-file.ts";
import { writeWhole } from "./whole-file.ts";

interface Request {
  readonly what: "install" | "status" | "uninstall" | "print";
  readonly workflow: string | undefined;
  readonly manager: Manager | undefined;
}

interface Report {
  readonly ok: boolean;
  readonly manager: Manager;
  readonly name: string;
  readonly file: string;
  readonly lines: readonly string[];
}

const managerMs = 20_000;

/** Prints, installs, looks at or removes the service of one project. */
export async function manage(request: Request, context: CommandContext): Promise<Report> {
  // A service is looked at and removed also when its workflow file is gone.
  const isMade = request.what === "install" || request.what === "print";
  const project = (isMade ? servedProject : placeOf)(request.workflow, context);
  const { env } = context;
  const home = env["HOME"] || userInfo().homedir;
  const manager = request.manager ?? managerHere();
  const { variables } = carriedOf(env);
  const path = env["PATH"] ?? "";
  const facts = { ...project, node: process.execPath, program, home, path, variables };
  const name = serviceName(facts);
  const config = env["XDG_CONFIG_HOME"] || join(home, ".config");
  const file = servicePath(manager, name, { home, config });
  const service = { manager, name, file };
  const work = { service, facts, context };
  const { ok, lines } = await actions[request.what](work);
  return { ...service, ok, lines };
}

interface Work {
  readonly service: { readonly manager: Manager; readonly name: string; readonly file: string };
  readonly facts: ServiceFacts;
  readonly context: CommandContext;
}

type Outcome = { readonly ok: boolean; readonly lines: readonly string[] };

const actions: Readonly<Record<Request["what"], (work: Work) => Promise<Outcome>>> = {
  async print({ service, facts }) {
    return { ok: true, lines: [serviceText(service.manager, facts).trimEnd()] };
  },
  install,
  status,
  uninstall,
};

function managerHere(): Manager {
  if (process.platform === "darwin") return "launchd";
  if (process.platform === "linux") return "systemd";
  throw new SymphonyError(
    "invalid_request",
    `there is no service manager known for ${process.platform}`,
    {
      hint: "symphony service print --manager systemd",
    },
  );
}

async function install({ service, facts, context }: Work): Promise<Outcome> {
  const { manager, name, file } = service;
  const text = serviceText(manager, facts);
  if (existsSync(file) && !isOurs(file)) throw notOurs(file);
  await mkdir(dirname(file), { recursive: true });
  await writeWhole(file, text, { mode: 0o600 });
  const { start: steps, stop } = stepsOf(service);
  // launchd refuses to load what is loaded.
  if (manager === "launchd") for (const argv of stop) await run(argv, context);
  for (const argv of steps) {
    const failure = await failureOf(argv, context);
    if (failure === null) continue;
    return {
      ok: false,
      lines: [
        `${file} is written, but not started: ${failure}`,
        `next: ${steps
          .slice(steps.indexOf(argv))
          .map((step) => step.map(shellQuoted).join(" "))
          .join(" && ")}`,
      ],
    };
  }
  const stays = manager === "systemd" ? await lingerLine(context) : [];
  return {
    ok: true,
    lines: [
      `${name} is installed and started: ${file}`,
      ...stays,
      "Keys of your shell are not in it: symphony secrets add NAME stores them",
      ...leftLine(service, context),
      `next: symphony service status; its log: ${join(facts.dataDir, "log", "symphony.log")}`,
    ],
  };
}

/** What the service needs and must not stand in its file. */
function leftLine({ manager, name, file }: Work["service"], { env }: CommandContext) {
  const { left } = carriedOf(env);
  if (left.length === 0) return [];
  const how = manager === "systemd" ? `systemctl --user edit ${name}` : `an edit of ${file}`;
  return [`Neither is ${left.join(", ")}, which may hold a secret: ${how} adds it`];
}

/** Without linger, systemd ends a user's services at logout. */
async function lingerLine(context: CommandContext): Promise<readonly string[]> {
  const user = userInfo().username;
  const end = await run(["loginctl", "show-user", user, "--property=Linger"], context);
  if (/Linger=yes/.test(end.output)) return ["It stays up after logout: linger is on"];
  return [`It stops when you log out, until: loginctl enable-linger ${shellQuoted(user)}`];
}

async function status({ service, facts, context }: Work): Promise<Outcome> {
  const { name, file } = service;
  if (!existsSync(file)) {
    return { ok: false, lines: [`${name} is not installed`, "next: symphony service install"] };
  }
  const written = readFileSync(file, "utf8");
  const now = serviceText(service.manager, facts);
  const gone = [facts.workflowPath, ...pathsIn(written)].filter((path) => !existsSync(path));
  const end = await run(stepsOf(service).look, context);
  const runs = end.failure === null && end.exitCode === 0;
  return {
    ok: runs && gone.length === 0,
    lines: [
      `${name} ${runs ? "runs" : "does not run"}: ${file}`,
      ...gone.map((path) => `gone: ${path}`),
      ...(written === now || gone.length > 0
        ? []
        : ["It was installed with another PATH, Node.js or place"]),
      ...(gone.includes(facts.workflowPath)
        ? ["next: symphony service uninstall, or bring the workflow file back"]
        : runs && written === now
          ? []
          : ["next: symphony service install writes it anew and starts it"]),
    ],
  };
}

/** The absolute paths that the file starts: the first two of its arguments. */
function pathsIn(text: string): readonly string[] {
  const unit = /^ExecStart="((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"/m.exec(text);
  if (unit !== null) {
    return unit
      .slice(1)
      .map((one) => one.replaceAll("$$", "$").replaceAll("%%", "%").replaceAll(/\\(.)/g, "$1"));
  }
  const strings = [...text.matchAll(/<string>([^<]*)<\/string>/g)].map(([, one = ""]) => one);
  return strings
    .slice(1, 3)
    .map((one) => one.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&"));
}

async function uninstall({ service, context }: Work): Promise<Outcome> {
  const { name, file } = service;
  if (!existsSync(file)) return { ok: true, lines: [`${name} is not installed`] };
  if (!isOurs(file)) throw notOurs(file);
  const failures: string[] = [];
  for (const argv of stepsOf(service).stop) {
    const failure = await failureOf(argv, context);
    if (failure !== null) failures.push(failure);
  }
  await rm(file);
  const again = stepsOf(service).forget;
  if (again !== null) await run(again, context);
  return {
    ok: failures.length === 0,
    lines: [
      ...failures.map((failure) => `It may still run: ${failure}`),
      `${file} is removed; the project's data stays`,
    ],
  };
}

function isOurs(file: string): boolean {
  return readFileSync(file, "utf8").slice(0, 200).includes(madeBy);
}

function notOurs(file: string): SymphonyError {
  return new SymphonyError(
    "invalid_request",
    `${resolve(file)} was not made by symphony, and stays as it is`,
    {
      hint: "move it away, then: symphony service install",
    },
  );
}

/** The commands of the manager; none needs root. */
function stepsOf({ manager, name, file }: Work["service"]) {
  if (manager === "systemd") {
    const ctl = ["systemctl", "--user"];
    return {
      // Started anew, so that a changed file is the one in use.
      start: [
        [...ctl, "daemon-reload"],
        [...ctl, "enable", name],
        [...ctl, "restart", name],
      ],
      look: [...ctl, "is-active", name],
      stop: [[...ctl, "disable", "--now", name]],
      forget: [...ctl, "daemon-reload"],
    };
  }
  const domain = `gui/${userInfo().uid}`;
  return {
    start: [["launchctl", "bootstrap", domain, file]],
    look: ["launchctl", "print", `${domain}/${name}`],
    stop: [["launchctl", "bootout", `${domain}/${name}`]],
    forget: null,
  };
}

async function failureOf(argv: readonly string[], context: CommandContext): Promise<string | null> {
  const { failure, exitCode, output } = await run(argv, context);
  if (failure !== null) return `${argv[0]} cannot be started here`;
  if (exitCode === 0) return null;
  return `${argv.join(" ")} ended with ${exitCode ?? "a signal"}: ${output.trim().slice(0, 500) || "no reason given"}`;
}

function run(argv: readonly string[], { env }: CommandContext) {
  return runCommand({ argv, cwd: "/", env, timeoutMs: managerMs, outputBytes: 4_096 });
}
