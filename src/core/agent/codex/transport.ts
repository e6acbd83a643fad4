import type { SymphonyError } from "../../model/errors.ts";

/** What a transport tells; none of it may wait or throw. */
export interface TransportEvents {
  onLine(line: string): void;
  onStderr(line: string): void;
  /** Once, when no further line will come. */
  onEnd(error: SymphonyError): void;
}

/** Carries messages to an agent, each with its newline, and lines back. */
export interface Transport {
  readonly pid: number | null;
  write(text: string): void;
  /** Ends what belongs to the run, in bounded time. */
  stop(): Promise<void>;
}

/** An agent that runs already and holds threads of other runs beside. */
export interface AgentHost {
  /** By which the next server finds it. */
  readonly id: string;
  /** Once. */
  connect(events: TransportEvents): Transport;
  /** The session can hear requests of the agent now. */
  ready(threadId: string): void;
  /** Ends what the agent still does on the thread; resolves when nothing of it runs. */
  leave(threadId: string): Promise<void>;
  /** Lets go of the agent without ending anything. */
  detach(): void;
}
