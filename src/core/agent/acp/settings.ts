import { z } from "zod";
import {
  accessKeys,
  accessMeanings,
  type ProgramAccess,
  positive,
  section,
  solidText,
} from "../../config/agents.ts";
import type { AgentSection } from "../../config/sections.ts";
import { renamed } from "../../model/names.ts";
import {
  type ProviderSettings,
  providerKey,
  providerMeaning,
  providerSettingsOf,
} from "../provider-way.ts";

declare module "../../config/config.ts" {
  interface Config {
    readonly acp: AcpConfig;
  }
}

const word = solidText.nullable().default(null);

const schema = section({
  command: word,
  model: word,
  auth_method: word,
  mode: word,
  options: z
    .record(z.string(), z.union([solidText, z.boolean()]), "must be a map of options")
    .default({}),
  read_timeout_ms: positive.default(60_000),
  turn_timeout_ms: positive.default(3_600_000),
  provider: providerKey,
  ...accessKeys,
});

export interface AcpConfig extends ProgramAccess {
  /** A shell line, run as `bash -c`; null: not set, so the agent cannot run. */
  readonly command: string | null;
  readonly model: string | null;
  /** Which of the agent's login methods is used; null for none. */
  readonly authMethod: string | null;
  /** The mode of the session, by id or name; null: the one in which the agent asks. */
  readonly mode: string | null;
  /** Further options of the session and their values, each by id or name; a switch is true or false. */
  readonly options: Readonly<Record<string, string | boolean>>;
  /** Limit for the wait for one answer of the protocol, except for that of a turn. */
  readonly readTimeoutMs: number;
  /** The model provider that the program is led to; null: a known agent's own. */
  readonly provider: ProviderSettings | null;
  /** Limit for silence in a turn. */
  readonly turnTimeoutMs: number;
}

/** Any agent that speaks the Agent Client Protocol. */
export const acpSection: AgentSection<AcpConfig, typeof schema> = {
  schema,
  meanings: {
    command: "A shell line that starts an agent of the Agent Client Protocol",
    model: "Model requested from the agent; the agent's own when omitted",
    auth_method: "The agent's login method to use, by its id",
    mode: "The agent's mode, by its id or name; when omitted the one in which it asks",
    options: "Further options of the agent's session, each with its value, by id or name",
    read_timeout_ms: "Limit for the wait for one answer of the protocol, ms",
    turn_timeout_ms: "Limit for silence in a turn, ms",
    provider: providerMeaning,
    ...accessMeanings("agent"),
  },
  example: { command: "codex-acp" },
  wholeMaps: ["options"],
  settings: (written) => ({
    ...renamed(schema, written),
    provider: providerSettingsOf(written.provider),
  }),
};
