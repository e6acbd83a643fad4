import { once } from "node:events";
import { connect } from "node:net";
import { systemClock } from "../clock.ts";
import { agentsInUse, kindOf, type ServerConfig } from "../config/config.ts";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { outbound, proxyFor } from "../outbound.ts";
import { canNest, probeSandbox } from "../process/sandbox.ts";
import { lockRoot } from "../store/lock.ts";
import { isObject } from "../text/text.ts";
import { isWorkspaceRoot, stateDirOf } from "../workspace/place.ts";
import { exists, type Holding } from "./data-checks.ts";
import type { Environment, Project } from "./project.ts";
import { type Answer, fail, failure, notAsked, ok, warn } from "./result.ts";

/** A server holds its databases, a socket of each client and pipes of each agent: with 256, as launchd gives, it is soon refused. */
const fewFiles = 1_024;

/** The Node.js that runs symphony, and how many files it may have open. */
export function checkNode(): Answer {
  const said = `Node.js ${process.versions.node} (${process.execPath})`;
  const limit = openFiles();
  if (limit === null || limit >= fewFiles) return ok(said);
  const message = `${said} may have only ${limit} files open: beyond that agents and clients are refused (EMFILE)`;
  return warn(message, "ulimit -n 4096");
}

/** null: no limit, or none that is known. */
function openFiles(): number | null {
  // Without it the report asks for the names of connected hosts. The types do not know it yet.
  Object.assign(process.report, { excludeNetwork: true });
  const written: unknown = process.report.getReport();
  const limits = isObject(written) ? written["userLimits"] : null;
  const files = isObject(limits) ? limits["open_files"] : null;
  const soft = isObject(files) ? files["soft"] : null;
  return typeof soft === "number" ? soft : null;
}

const skewMs = 60_000;
const askMs = 20_000;

/** Against the clock of the tracker's server: signatures and tokens with a time fail when they differ. */
export async function checkClock(address: string | undefined): Promise<Answer> {
  if (address === undefined) return notAsked("there is no server on the network to compare with");
  try {
    const signal = AbortSignal.timeout(askMs);
    const response = await outbound(address, { method: "HEAD", signal });
    await response.body?.cancel();
    const theirs = Date.parse(response.headers.get("date") ?? "");
    if (Number.isNaN(theirs)) return notAsked(`${new URL(address).host} says no time`);
    const difference = systemClock.wall() - theirs;
    if (Math.abs(difference) < skewMs) return ok(`agrees with ${new URL(address).host}`);
    const seconds = Math.round(Math.abs(difference) / 1_000);
    const way = difference > 0 ? "ahead of" : "behind";
    const message = `this machine is ${seconds} s ${way} ${new URL(address).host}`;
    return warn(message, "timedatectl set-ntp true");
  } catch {
    return notAsked(`${new URL(address).host} does not answer`);
  }
}

const proxyMs = 5_000;
/** A host that no setting excepts, to find the proxy for most of the network. */
const anywhere = new URL("https://host.invalid");

/** Whether the proxy of the environment can be used and is there. */
export async function checkProxy(env: Environment): Promise<Answer> {
  let proxy: URL | null;
  try {
    proxy = proxyFor(anywhere, env);
  } catch (error) {
    const reason =
      error instanceof Error && error.cause ? messageOf(error.cause) : messageOf(error);
    return fail("tracker_request", reason, "export HTTPS_PROXY=http://host:port");
  }
  if (proxy === null) return ok("none is set: requests go out directly");
  const port = Number(proxy.port || (proxy.protocol === "https:" ? 443 : 80));
  const host = proxy.hostname.replace(/^\[|\]$/g, "");
  const socket = connect({ host, port });
  try {
    await once(socket, "connect", { signal: AbortSignal.timeout(proxyMs) });
    return ok(`requests go out through ${proxy.host}`);
  } catch (error) {
    const reason =
      error instanceof Error && error.name === "AbortError" ? "no answer" : messageOf(error);
    const message = `the proxy ${proxy.host} of HTTPS_PROXY cannot be reached: ${reason}`;
    return fail("tracker_request", message, "correct HTTPS_PROXY, or unset it");
  } finally {
    socket.destroy();
  }
}

/** The sandbox in which symphony itself runs agents and checks. */
export async function checkSandbox({ checked, env }: Project): Promise<Answer> {
  if (checked === null) return notAsked("the level is not known without the workflow file");
  const { agent, delivery } = checked.effective.config;
  if (agent.level === "danger") return notAsked("at agent.level danger nothing is confined");
  const { config } = checked.effective;
  const isCodex = agentsInUse(config).every((name) => kindOf(config, name) === "codex");
  if (isCodex && delivery.checks.length === 0) {
    return (await canNest(env)) !== null
      ? ok("a sandbox works inside of it: codex has both around its commands")
      : notAsked("codex has a sandbox of its own alone: here none works inside of symphony's");
  }
  try {
    await probeSandbox(agent.level, env);
    return ok(`a program ran in it at agent.level ${agent.level}`);
  } catch (error) {
    return failure(error);
  }
}

/** The port and address of `server`, tried by `probe` unless the project's own server has them. */
export async function checkPort(
  { checked }: Project,
  holding: Holding,
  probe: (server: ServerConfig) => Promise<void>,
): Promise<Answer> {
  if (holding.server !== null)
    return ok(`the server of this project answers at ${holding.server.url}`);
  if (checked === null) return notAsked("the port is not known without the workflow file");
  const { server } = checked.effective.config;
  try {
    await probe(server);
    return ok(server.port === 0 ? "any free port" : `${server.host}:${server.port} is free`);
  } catch (error) {
    return failure(error);
  }
}

/** Whether a server of another project has the directory of workspaces. */
export async function checkServers(
  { checked, dataDir }: Project,
  holding: Holding,
): Promise<Answer> {
  if (checked === null) return notAsked("the directory of workspaces is not known");
  if (holding.server !== null) return ok("the server of this project has its workspaces");
  const { root } = checked.effective.config.workspace;
  if (!(await isWorkspaceRoot(root)) || !(await exists(stateDirOf(root)))) {
    return ok("no other server works in its directory of workspaces");
  }
  try {
    await (await lockRoot(stateDirOf(root), dataDir)).release();
    return ok(`no other server works in ${root}`);
  } catch (error) {
    if (error instanceof SymphonyError && error.code === "workspace_in_use") return failure(error);
    return notAsked(`${root} cannot be locked here: ${messageOf(error)}`);
  }
}
