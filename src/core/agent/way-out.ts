import { type Egress, openEgress } from "../egress/egress.ts";
import { relayPort, relaySocket, requireRelay } from "../egress/relay.ts";
import { SymphonyError } from "../model/errors.ts";
import { openProxies } from "../process/environment.ts";
import { shellQuoted } from "../text/text.ts";
import type { SessionSpec } from "./agent.ts";
import type { Confinement } from "./confinement.ts";
import { noticeEvent } from "./event-makers.ts";
import type { ProviderWay } from "./provider-way.ts";

/** Where the token stands until the program starts, so that no command line contains it. */
const tokenVariable = "SYMPHONY_PROVIDER_TOKEN";
/** The sandbox's own addresses, which need no way out. */
const noProxy = "127.0.0.1,localhost,::1";
/** Seatbelt allows one port of the machine; bubblewrap gives a network of its own, into which a relay leads. */
const isMac = process.platform === "darwin";
const proxyVariables = ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"];

/** How a confined program gets out, and what it is given for that. */
export interface WayOut extends AsyncDisposable {
  /** With the socket of the way; null at level `danger`. */
  readonly confinement: Confinement | null;
  /** The variables of the operator that the program still gets. */
  readonly passthrough: readonly string[];
  /** Shell lines before the program. */
  readonly lines: readonly string[];
  /** What these lines read; the names are symphony's own. */
  readonly variables: Readonly<Record<string, string>>;
  /** The variables of a proxy, which `lines` export too. */
  readonly proxies: Readonly<Record<string, string>>;
}

export interface WayOutFacts {
  readonly spec: Pick<SessionSpec, "level" | "network" | "onEvent">;
  readonly provider: ProviderWay | null;
  readonly confinement: Confinement | null;
  readonly passthrough: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

type Reach = Pick<WayOutFacts, "provider" | "env"> & {
  readonly spec: Pick<SessionSpec, "level" | "network">;
};

/**
 * Whether a sandbox gets a network of its own with one way out: below `danger`, when the program's
 * provider is known or `agent.network` limits the hosts.
 */
function isBoxed({ spec, provider }: Omit<Reach, "env">): boolean {
  if (spec.level === "safe") return provider !== null;
  return spec.level === "networked" && (spec.network ?? null) !== null;
}

/**
 * The operator's variables of a proxy that a program gets: where it shares the machine's network, which that proxy may
 * be the only way out of. None has a password. A sandbox with a network of its own has other variables.
 */
export function proxiesShared({ spec, provider, env }: Reach): readonly string[] {
  const isShared = spec.level !== "safe" && !isBoxed({ spec, provider });
  return isShared ? openProxies(env) : [];
}

/** Rejects with `agent_unavailable` when the way out cannot be opened here. */
export async function requireWayOut(reach: Reach): Promise<void> {
  if (isBoxed(reach) && !isMac) await requireRelay(reach.env);
}

/**
 * Opens the way out of one session. At level `safe` it leads to the provider alone; at `networked` also
 * to the hosts of `agent.network`, and without that list the machine's network is shared and only
 * the provider is reached by it. Whoever calls this disposes it after the last process of the session.
 */
export async function openWayOut(facts: WayOutFacts): Promise<WayOut> {
  const { spec, provider, confinement, env } = facts;
  const isBox = isBoxed(facts);
  const shared = proxiesShared(facts);
  const passthrough = [...new Set([...facts.passthrough, ...shared])];
  if (confinement === null || (!isBox && provider === null)) {
    // A provider of this machine is not asked for through the operator's proxy.
    const proxies = shared.length > 0 ? besides(env) : {};
    return {
      confinement,
      passthrough: passthrough.filter((name) => !(name in proxies)),
      lines: exported(proxies),
      variables: {},
      proxies,
      [Symbol.asyncDispose]: async () => {},
    };
  }
  const relay = isBox && !isMac ? await requireRelay(env) : null;
  const hosts = spec.level === "networked" ? (spec.network ?? []) : [];
  const egress = await openEgress({
    provider,
    hosts,
    listens: relay === null ? "port" : "socket",
    onRefused: (host, reason) =>
      spec.onEvent(noticeEvent(`the network was refused: ${host} ${reason}`)),
  });
  const at = `http://127.0.0.1:${egress.port ?? relayPort}`;
  const own = isBox && spec.level === "networked" ? proxiesAt(at) : {};
  // The provider is reached at an address of this machine, which the operator's proxy cannot reach.
  const proxies = shared.length > 0 ? besides(env) : own;
  const replaced = [
    ...(provider === null ? [] : [provider.addressVariable, provider.keyVariable]),
    ...Object.keys(proxies),
  ];
  return {
    confinement: isBox ? withWay(confinement, egress, relay) : confinement,
    passthrough: passthrough.filter((name) => !replaced.includes(name)),
    lines: [...(provider === null ? [] : providerLines(provider, at)), ...exported(proxies)],
    proxies,
    variables: provider === null ? {} : { [tokenVariable]: egress.token },
    [Symbol.asyncDispose]: () => egress[Symbol.asyncDispose](),
  };
}

/** Without a relay the network is shared, and the sandbox refuses all of it but the port. */
function withWay(
  confinement: Confinement,
  { socket, port }: Egress,
  relay: string | null,
): Confinement {
  if (relay === null) return { ...confinement, ...(port !== null && { port }) };
  const from = socket ?? "";
  const shown = [...confinement.shown, { from, to: relaySocket, as: "writable" } as const];
  return { ...confinement, shown, relay };
}

function providerLines({ addressVariable, keyVariable }: ProviderWay, at: string): string[] {
  return [
    `export ${keyVariable}="$${tokenVariable}" ${addressVariable}=${shellQuoted(at)}`,
    `unset ${tokenVariable}`,
  ];
}

/** Node reads the variables of a proxy only when this one is set. */
function proxiesAt(at: string): Readonly<Record<string, string>> {
  const proxies = proxyVariables.map((name) => [name, at]);
  return {
    ...Object.fromEntries(proxies),
    NO_PROXY: noProxy,
    no_proxy: noProxy,
    NODE_USE_ENV_PROXY: "1",
  };
}

/** What the operator's proxy is not asked for, and this machine. */
function besides(env: NodeJS.ProcessEnv): Readonly<Record<string, string>> {
  const named = env["no_proxy"] || env["NO_PROXY"];
  // `*` is every host, and only alone.
  const direct = named ? (named.trim() === "*" ? "*" : `${named},${noProxy}`) : noProxy;
  return { NO_PROXY: direct, no_proxy: direct };
}

function exported(variables: Readonly<Record<string, string>>): string[] {
  const all = Object.entries(variables).map(([name, value]) => `${name}=${shellQuoted(value)}`);
  return all.length === 0 ? [] : [`export ${all.join(" ")}`];
}

/** The refusal of level `safe` for a program that has nothing to reach its model by. */
export function noProvider(kind: "acp" | "claude", hint: string): SymphonyError {
  const message = `at agent.level safe an agent reaches its model provider and nothing else, and the provider of agent.kind ${kind} is not known`;
  return new SymphonyError("agent_unavailable", message, {
    hint: `${hint}; or: symphony config overlay set agent.level networked`,
  });
}
