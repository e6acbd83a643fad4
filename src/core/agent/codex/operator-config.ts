// What a private home takes over of the operator's own `config.toml`.

/** The parts of the operator's own `config.toml` that a private home takes over. */
export interface OperatorConfig {
  /** Top-level settings, as written. */
  readonly settings: readonly string[];
  /** Whole tables of model providers and features, as written. */
  readonly tables: readonly string[];
  /** Variables whose values are credentials of a provider. */
  readonly credentialNames: readonly string[];
}

/**
 * Settings of the provider and the model: none that runs a program, opens the sandbox or connects
 * to another server. An MCP server, a hook, or a profile with its own sandbox is not taken over.
 */
const kept =
  /^(model|model_provider|model_(reasoning_(effort|summary)|verbosity|context_window|auto_compact_token_limit|catalog_json|supports_reasoning_summaries)|plan_mode_reasoning_effort|service_tier|personality|web_search|openai_base_url|chatgpt_base_url|cli_auth_credentials_store|forced_login_method|forced_chatgpt_workspace_id)$/;
const keptTable = /^(model_providers|features)(\.|$)/;
const ownFeatures = /^\s*"?(plugins|apps)"?\s*=/;

interface Statement {
  readonly text: string;
  /** The name of the table that it opens, or null for a setting. */
  readonly table: string | null;
  readonly key: string;
}

/** Selects settings from the text of a `config.toml`; text that cannot be parsed is left out. */
export function pickOperatorConfig(text: string): OperatorConfig {
  const settings: string[] = [];
  const tables: string[][] = [];
  let open: string[] | null = null;
  let inTable = false;
  for (const statement of statements(text)) {
    if (statement.table !== null) {
      inTable = true;
      open = keptTable.test(statement.table) ? [statement.text] : null;
      if (open) tables.push(open);
    } else if (inTable) {
      if (open && !ownFeatures.test(statement.text)) open.push(statement.text);
    } else if (kept.test(statement.key) || /^model_providers(\.|$)/.test(statement.key)) {
      settings.push(statement.text);
    }
  }
  const whole = tables.map((lines) => lines.join("\n"));
  return {
    settings,
    tables: whole,
    credentialNames: [...new Set([...settings, ...whole].flatMap(credentialNames))],
  };
}

/** `env_key = "NAME"`, and every quoted value of `env_http_headers`. */
function credentialNames(statement: string): string[] {
  const key = /\benv_key\s*=\s*["']([^"']+)["']/.exec(statement)?.[1];
  const headers = statement.includes("env_http_headers")
    ? [...statement.matchAll(/=\s*["']([A-Za-z_][A-Za-z0-9_]*)["']/g)].map(([, name]) => name ?? "")
    : [];
  return key === undefined ? headers : [key, ...headers];
}

/**
 * The lines of one setting or one table header each; a text or list over several lines stays
 * together.
 */
export function statements(text: string): Statement[] {
  const found: Statement[] = [];
  let open: string[] = [];
  for (const line of text.split(/\r?\n/)) {
    if (open.length === 0 && /^\s*(#|$)/.test(line)) continue;
    open.push(line);
    const whole = open.join("\n");
    if (!isWhole(whole)) continue;
    found.push(statementOf(whole));
    open = [];
  }
  return found;
}

function statementOf(text: string): Statement {
  const table = /^\s*\[\[?\s*([^\]]+?)\s*\]/.exec(text)?.[1] ?? null;
  const key = /^\s*([^=]*?)\s*=/.exec(text)?.[1] ?? "";
  return {
    text,
    table: table?.replaceAll(/["'\s]/g, "") ?? null,
    key: key.replaceAll(/["'\s]/g, ""),
  };
}

/** False while a text in triple quotes, a list or an inline table is still open. */
function isWhole(text: string): boolean {
  const bare = text
    .replaceAll(/"""[\s\S]*?"""|'''[\s\S]*?'''/g, "")
    .replaceAll(/"(?:[^"\\\n]|\\.)*"|'[^'\n]*'/g, "");
  if (bare.includes('"""') || bare.includes("'''")) return false;
  const code = bare.replaceAll(/#.*/g, "");
  const count = (bracket: string) => code.split(bracket).length;
  return count("[") === count("]") && count("{") === count("}");
}
