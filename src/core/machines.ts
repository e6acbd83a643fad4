// Where attempts run, other than on this machine: the fleet of `fleet.url`, and the hosts of `worker.ssh_hosts`.

import { type AgentKind, commandKey, rowOf, settingsKey } from "./agent/kinds.ts";
import { agentsInUse, type Config, settingsOf } from "./config/config.ts";
import { engineUrlOf, fleetSecretNames, passwordsIn } from "./config/fleet.ts";
import type { ConfigService } from "./config/service.ts";
import type { CoreOptions } from "./core.ts";
import type { Fleet } from "./fleet/fleet.ts";
import { agentPrograms } from "./machine-checks.ts";
import { messageOf } from "./model/errors.ts";
import type { Closers } from "./open.ts";
import type { Orchestrator } from "./orchestrator/orchestrator.ts";
import type { State } from "./orchestrator/state.ts";
import type { Secrets } from "./secrets/secrets.ts";
import type { Ssh } from "./ssh/ssh.ts";

interface OpenFleetDeps {
  current(): Config;
  readonly kinds: readonly AgentKind[];
  lookup(name: string): string | undefined;
  readonly secrets: Pick<Secrets, "lookup" | "put">;
  readonly closers: Closers;
  readonly orchestrator: Pick<Orchestrator, "post" | "state">;
}

/**
 * The fleet of `fleet.url`, whose modules nothing else loads; null without it. Rejects with `engine_missing`,
 * `engine_refused`, `engine_unavailable`, or `invalid_config` for a secret that is not there.
 */
export async function openFleet(
  { dataDir, clock, log, redactor, onOvertaken = () => {} }: CoreOptions,
  { current, kinds, lookup, secrets, closers, orchestrator }: OpenFleetDeps,
): Promise<Fleet | null> {
  const settings = current().fleet;
  const url = engineUrlOf(settings, lookup);
  if (url === null) return null;
  const isSecret = fleetSecretNames(settings).length > 0;
  for (const secret of [...(isSecret ? [url] : []), ...passwordsIn(url)]) redactor.add(secret);
  const { Fleet } = await import("./fleet/fleet.ts");
  const fleet = await Fleet.open({
    ...{ url, dataDir, clock, log, secrets, leaseMs: settings.leaseMs },
    agents: () => agentsToCheck(current(), orchestrator.state, kinds),
    changed: (workers) => orchestrator.post({ type: "workers.changed", workers }),
    overtaken(host) {
      log.error("another orchestrator leads this fleet now: this server writes nothing and ends", {
        host,
      });
      onOvertaken();
    },
  });
  closers.push(() => fleet.close());
  return fleet;
}

/** Those of the configuration, and those that operators chose for single issues. */
function agentsToCheck(config: Config, { issues }: State, kinds: readonly AgentKind[]) {
  const chosen = [...issues.values()].flatMap(({ choices }) => choices.pick?.agent ?? []);
  const { level, network } = config.agent;
  return [...new Set([...agentsInUse(config), ...chosen])].flatMap((agent) => {
    const kind = rowOf(kinds, config, agent)?.kind;
    if (kind === undefined) return [];
    return {
      ...{ agent, kind, level, network: network === null ? null : [...network] },
      key: settingsKey(config, agent),
      commandKey: commandKey(kinds, config, agent),
      settings: { ...settingsOf(config, agent) },
    };
  });
}

/** The hosts of `worker.ssh_hosts`, now and after each reload; its result is null while there are none. */
export async function openSsh(
  { dataDir, clock, log, env }: CoreOptions,
  {
    config,
    kinds,
    closers,
    orchestrator,
  }: Pick<OpenFleetDeps, "closers" | "orchestrator"> & {
    readonly config: ConfigService;
    readonly kinds: readonly AgentKind[];
  },
): Promise<() => Ssh | null> {
  let ssh: Ssh | null = null;
  const current = () => config.current.config;
  const follow = async () => {
    if (ssh !== null) return ssh.hosts.follow();
    if (current().worker.sshHosts.length === 0) return;
    const { Ssh } = await import("./ssh/ssh.ts");
    ssh = await Ssh.open({
      ...{ dataDir, clock, log, env, config: current },
      programs: () => agentPrograms(kinds, current()),
      running: (host) =>
        [...orchestrator.state.issues.of("running").values()].filter(
          ({ worker }) => worker === host,
        ).length,
      changed: (workers) => orchestrator.post({ type: "workers.changed", workers }),
    });
    ssh.hosts.start();
  };
  await follow();
  let last = Promise.resolve();
  const again = () => {
    last = last
      .then(follow)
      .catch((error: unknown) =>
        log.error("the hosts of worker.ssh_hosts cannot be used", { reason: messageOf(error) }),
      );
  };
  closers.push(config.watch(again), () => ssh?.hosts.close());
  return () => ssh;
}
