// The gauges of `GET /metrics` that are read from the running core at each scrape.

import { Gauge, type Registry } from "prom-client";
import type { Core } from "../core/core.ts";
import type { WorkerHost } from "../core/model/worker.ts";
import type { Backlog } from "./backlog.ts";

/** Registers them all; a scrape reads memory alone. */
export function gauges(registry: Registry, core: Core, backlog: Backlog): void {
  buildInfo(registry, core.version);
  issueGauge(registry, core);
  trackerGauge(registry, core);
  unsavedGauge(registry, core);
  unrecordedGauge(registry, core);
  gateGauge(registry, core);
  workspaceGauge(registry, core);
  backlogGauge(registry, backlog);
  const { fleet } = core;
  const sshHosts = core.ssh()?.hosts;
  if (fleet ?? sshHosts) workerGauges(registry, () => (fleet ?? sshHosts)?.workers ?? []);
}

/** Only with workers. Names of workers are the operator's own and few. */
function workerGauges(registry: Registry, workers: () => readonly WorkerHost[]): void {
  const per = (name: string, help: string, value: (worker: WorkerHost) => number) =>
    new Gauge({
      ...{ name: `symphony_worker_${name}`, help, labelNames: ["worker"], registers: [registry] },
      collect() {
        this.reset();
        for (const worker of workers()) this.set({ worker: worker.name }, value(worker));
      },
    });
  per("ready", "1 if the worker takes new attempts, else 0", ({ ready }) => (ready ? 1 : 0));
  per("slots", "Attempts that the worker runs at the same time", ({ capacity }) => capacity);
  per("attempts", "Attempts that the worker has", ({ running }) => running);
  new Gauge({
    ...{ name: "symphony_worker_agent", registers: [registry], labelNames: ["worker", "agent"] },
    help: "1 if the worker can start the agent, else 0; an agent that is not checked yet is absent",
    collect() {
      this.reset();
      for (const { name: worker, agents } of workers())
        for (const { agent, trouble } of agents ?? [])
          this.set({ worker, agent }, trouble === null ? 1 : 0);
    },
  });
}

function buildInfo(registry: Registry, version: string): void {
  const info = new Gauge({
    name: "symphony_build_info",
    help: "Always 1; the version is in the labels",
    labelNames: ["version", "node_version"],
    registers: [registry],
  });
  info.set({ version, node_version: process.version }, 1);
}

/** Read from memory at each scrape. */
function issueGauge(registry: Registry, core: Core): void {
  new Gauge({
    name: "symphony_issues",
    help: "Issues by status",
    labelNames: ["status"],
    registers: [registry],
    collect() {
      const { counts } = core.orchestrator.view(1).snapshot;
      for (const [status, number] of Object.entries(counts)) this.set({ status }, number);
    },
  });
}

/** Without a value until the first read has ended: a 0 would raise an alarm, a 1 would hide one. */
function trackerGauge(registry: Registry, core: Core): void {
  new Gauge({
    name: "symphony_tracker_healthy",
    help: "1 if the last read of the tracker succeeded, else 0; no value before the first has ended",
    registers: [registry],
    collect() {
      const healthy = core.orchestrator.trackerHealthy();
      if (healthy === null) this.remove();
      else this.set(healthy ? 1 : 0);
    },
  });
}

/** Above 0 the disk refuses writes, and no new work is started. */
function unsavedGauge(registry: Registry, core: Core): void {
  new Gauge({
    name: "symphony_unsaved_writes",
    help: "Writes that the disk refused and that are retried",
    registers: [registry],
    collect() {
      this.set(core.orchestrator.unsaved());
    },
  });
}

/** Decisions that the record does not have: the disk refused it, or the file is damaged. */
function unrecordedGauge(registry: Registry, core: Core): void {
  new Gauge({
    name: "symphony_unrecorded_decisions",
    help: "Decisions since the start that could not be recorded",
    registers: [registry],
    collect() {
      this.set(core.recorder.lost);
    },
  });
}

const commonGates = ["paused", "active_hours", "host", "day_budget"] as const;

function gateGauge(registry: Registry, core: Core): void {
  new Gauge({
    name: "symphony_gate_closed",
    help: "1: this gate keeps all new work from starting",
    labelNames: ["gate"],
    registers: [registry],
    collect() {
      const shut = new Set(core.orchestrator.paused().map(({ gate }) => gate));
      for (const gate of commonGates) this.set({ gate }, shut.has(gate) ? 1 : 0);
    },
  });
}

/** As last measured in the background: a scrape walks no directory. */
function workspaceGauge(registry: Registry, core: Core): void {
  new Gauge({
    name: "symphony_workspace_bytes",
    help: "Disk use of all workspaces, as last measured",
    registers: [registry],
    collect() {
      this.set(core.workspaces.measuredBytes);
    },
  });
}

function backlogGauge(registry: Registry, backlog: Backlog): void {
  new Gauge({
    name: "symphony_sse_waiting_bytes",
    help: "Bytes that wait for clients of event streams, at most 64 MiB",
    registers: [registry],
    collect() {
      this.set(backlog.bytes);
    },
  });
}
