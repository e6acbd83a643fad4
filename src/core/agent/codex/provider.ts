import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { operatorHomeOf, statements } from "./home.ts";

/** The provider of models that codex's own configuration chooses. */
export interface CodexProvider {
  /** null: that of codex itself, or one whose address is not known. */
  readonly baseUrl: string | null;
  /** The variable that holds its key; null: it needs none. */
  readonly keyName: string | null;
  readonly model: string | null;
}

const nowhere: CodexProvider = { baseUrl: null, keyName: null, model: null };

/** As `config.toml` in `CODEX_HOME` has it; what cannot be read there is left out. */
export async function codexProvider(
  env: Readonly<Record<string, string | undefined>>,
): Promise<CodexProvider> {
  const file = join(operatorHomeOf(env), "config.toml");
  const text = await readFile(file, "utf8").catch(() => null);
  return text === null ? nowhere : providerIn(text);
}

export function providerIn(text: string): CodexProvider {
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
  const model = values.get("model") ?? null;
  const id = values.get("model_provider");
  if (id === undefined)
    return { ...nowhere, baseUrl: values.get("openai_base_url") ?? null, model };
  const of = (key: string) => values.get(`model_providers.${id}.${key}`) ?? null;
  return { baseUrl: of("base_url"), keyName: of("env_key"), model };
}
