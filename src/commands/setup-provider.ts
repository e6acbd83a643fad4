import { askOpenai } from "../core/agent/openai/models.ts";
import { openaiSection } from "../core/agent/openai/settings.ts";
import { systemClock } from "../core/clock.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { type AgentChoice, builtIn, yamlText } from "./setup-file.ts";

const keyName = "OPENAI_API_KEY";
const usual = openaiSection.schema.parse({}).model;

interface Asking {
  readonly answers: { readonly provider: string | undefined; readonly model: string | undefined };
  readonly keys: { lookup(name: string): string | undefined; has(name: string): boolean };
  readonly context: CommandContext;
}

/** The provider that was typed, else that of the environment; null: OpenAI's own. */
export function providerAddress({
  answers,
  context,
}: Pick<Asking, "answers" | "context">): string | null {
  return (answers.provider ?? context.env["OPENAI_BASE_URL"])?.trim() || null;
}

interface Found {
  readonly agent: AgentChoice;
  /** Whether the model was asked for: a question of the four. */
  readonly wasAsked: boolean;
}

/**
 * The built-in agent with its provider and model. Another provider than OpenAI's own is requested to list its models; `choose`
 * asks for one of several, and is null where nothing is asked: then the default one, else the first. Throws `provider_error` for an
 * address that the agent would refuse.
 */
export async function withProvider(
  asking: Asking,
  choose: ((models: readonly string[]) => Promise<string>) | null,
): Promise<Found> {
  const address = providerAddress(asking);
  const typed = asking.answers.model ?? null;
  if (address === null && typed === null) return { agent: builtIn, wasAsked: false };
  const hasKey = asking.keys.has(keyName);
  const listed = address === null || typed !== null ? [] : await modelsAt(address, hasKey, asking);
  const isOpen = choose !== null && listed.length > 1;
  const first = listed.includes(usual) ? usual : (listed[0] ?? usual);
  const model = typed ?? (isOpen ? await choose(listed) : first);
  if (!isOpen && listed.length > 1) {
    asking.context.note(`model: ${model}, one of ${listed.length}; --model names another`);
  }
  const settings = [
    "openai:",
    ...(address === null ? [] : [`  base_url: ${yamlText(address)}`]),
    `  api_key: ${hasKey || address === null ? `$${keyName}` : "none # the provider needs no key"}`,
    `  model: ${yamlText(model)}`,
    ...builtIn.settings.slice(-2),
  ];
  return { agent: { ...builtIn, settings }, wasAsked: isOpen };
}

/** Empty where the provider lists none, which is said. */
async function modelsAt(
  address: string,
  hasKey: boolean,
  { keys, context }: Asking,
): Promise<readonly string[]> {
  const apiKey = hasKey ? `$${keyName}` : "none";
  const config = { baseUrl: address, apiKey, apiKeyHeader: "authorization", headers: {} };
  const signal = new AbortController().signal;
  try {
    const models = await askOpenai(config, { clock: systemClock, signal, lookup: keys.lookup });
    return models.map(({ id }) => id);
  } catch (error) {
    if (!(error instanceof SymphonyError) || error.details["category"] === "invalid_url") {
      throw error;
    }
    context.note(`${messageOf(error)}; the model is ${usual} unless --model names another`);
    return [];
  }
}
