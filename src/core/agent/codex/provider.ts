import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { SymphonyError } from "../../model/errors.ts";
import { objectOf, shellQuoted } from "../../text/text.ts";
import { commandsOf } from "../guard/program.ts";
import type { JsonRpcPeer } from "../json-rpc.ts";
import { refusalError } from "../refusals.ts";
import { environmentOf, type Keys } from "../stored-values.ts";
import type { ConnectionOptions } from "./connection.ts";
import { operatorHomeOf } from "./home.ts";
import { statements } from "./operator-config.ts";
import { logIn, passKey } from "./protocol.ts";
import type { CodexConfig } from "./settings.ts";

/** The provider of models that codex's own configuration, or its command line, chooses. */
export interface CodexProvider {
  /** null: that of codex itself, or one whose address is not known. */
  readonly baseUrl: string | null;
  /** The variable that holds its key; null: it needs none. */
  readonly keyName: string | null;
  readonly model: string | null;
  /** The configuration names another provider than codex's own. */
  readonly isOther: boolean;
  /** The login of codex is, or may be, in the system's keyring, under a name of its own for each home. */
  readonly usesKeyring: boolean;
}

const usual = { command: "codex app-server", home: "private" };
const nowhere = { baseUrl: null, keyName: null, model: null, isOther: false };

/** As the command line and `config.toml` in `CODEX_HOME` have it; what cannot be read there is left out. */
export async function codexProvider(
  env: Readonly<Record<string, string | undefined>>,
  { command, home }: Pick<CodexConfig, "command" | "home"> = usual,
): Promise<CodexProvider> {
  const file = join(operatorHomeOf(env), "config.toml");
  const text = await readFile(file, "utf8").catch(() => "");
  return providerIn(text, { command, withProfile: home === "inherit" });
}

interface Reading {
  /** The shell line that starts codex. */
  readonly command: string;
  /** Profiles of older releases of codex count; a private home takes none over. */
  readonly withProfile: boolean;
}

/**
 * Rejects with `agent_unavailable` where the provider of codex's own configuration takes its key from a variable that codex
 * would not have: every turn would fail for it.
 */
export async function requireProviderKey(
  config: Pick<CodexConfig, "command" | "home" | "envPassthrough">,
  keys: Keys,
): Promise<void> {
  const { keyName: name } = await codexProvider(keys.env, config);
  // A line may set it by itself.
  if (name === null || config.command.includes(`${name}=`)) return;
  if (!config.envPassthrough.includes(name)) {
    const passed = [...config.envPassthrough, name].join(", ");
    const message = `codex's provider takes its key from ${name}, which codex does not get`;
    throw new SymphonyError("agent_unavailable", message, { hint: passKey(passed) });
  }
  if ((await environmentOf(config, keys))[name]?.trim()) return;
  const message = `codex's provider takes its key from ${name}, which is not set`;
  throw new SymphonyError("agent_unavailable", message, { hint: `symphony secrets add ${name}` });
}

/**
 * Why every turn would be refused: codex says that its own provider requires a login, and that there is none. It would repeat
 * the request for a long time first. null: nothing is known to be missing. Never rejects.
 */
export async function missingLogin(
  peer: Pick<JsonRpcPeer, "request">,
  config: Pick<CodexConfig, "command" | "home" | "envPassthrough">,
  { env, home }: Pick<ConnectionOptions, "env" | "home">,
): Promise<SymphonyError | null> {
  // A server of the operator's own may take requests without a login.
  const provider = await codexProvider(env, config).catch(() => null);
  const isOwn = provider?.isOther === false && provider.baseUrl === null;
  if (!isOwn || config.envPassthrough.includes("OPENAI_BASE_URL")) return null;
  const answer = objectOf(await peer.request("account/read", {}).catch(() => null));
  if (answer["requiresOpenaiAuth"] !== true || answer["account"] !== null) return null;
  const own =
    home && provider.usesKeyring
      ? `a login in a keyring belongs to one home: CODEX_HOME=${shellQuoted(home.path)} codex login; then: symphony refresh`
      : logIn;
  return refusalError("authentication_failed", "codex is not logged in", own);
}

export function providerIn(
  text: string,
  { command, withProfile }: Reading = { ...usual, withProfile: false },
): CodexProvider {
  const values = new Map([...valuesIn(text), ...overridesIn(command)]);
  const profile = withProfile ? values.get("profile") : undefined;
  const chosen = (key: string) => values.get(`profiles.${profile}.${key}`) ?? values.get(key);
  const model = chosen("model") ?? null;
  const usesKeyring = /^(?:keyring|auto)$/.test(values.get("cli_auth_credentials_store") ?? "");
  const id = chosen("model_provider");
  if (id === undefined || id === "openai")
    return { ...nowhere, baseUrl: values.get("openai_base_url") ?? null, model, usesKeyring };
  const of = (key: string) => values.get(`model_providers.${id}.${key}`) ?? null;
  return { baseUrl: of("base_url"), keyName: of("env_key"), model, isOther: true, usesKeyring };
}

/** The texts of a `config.toml`, by their dotted keys. */
function valuesIn(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  let table = "";
  for (const statement of statements(text)) {
    if (statement.table !== null) table = `${statement.table}.`;
    else {
      const value = /=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)')/.exec(statement.text);
      const written = value?.[1] ?? value?.[2];
      if (written !== undefined) values.set(`${table}${statement.key}`, written);
    }
  }
  return values;
}

/** `-c key=value` and `--config key=value` of the command line; the last one of a key counts. */
function overridesIn(command: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const words of commandsOf(command)) {
    for (const [at, word] of words.entries()) {
      const isOption = word === "-c" || word === "--config";
      const pair = isOption ? words[at + 1] : /^(?:--config=|-c=?(?=\w))(.*)$/s.exec(word)?.[1];
      const [, key, written] = /^([^=]+)=(.*)$/s.exec(pair ?? "") ?? [];
      if (key === undefined || written === undefined) continue;
      // A value that is no TOML is text as it stands.
      values.set(
        key.trim().replaceAll(/["']/g, ""),
        written.trim().replace(/^(["'])(.*)\1$/s, "$2"),
      );
    }
  }
  return values;
}
