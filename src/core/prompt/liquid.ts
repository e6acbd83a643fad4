import {
  Liquid,
  LiquidError,
  type Template,
  Tokenizer,
  type TopLevelToken,
  TypeGuards,
} from "liquidjs";
import { type ErrorCode, messageOf, SymphonyError } from "../model/errors.ts";
import { oneLine } from "../text/text.ts";

const maxTemplateChars = 100_000;
/** Checked between the nodes of a template; a node that takes longer is ended from outside. */
const maxRenderMs = 500;
/** LiquidJS counts characters and list items that a template makes. */
const maxMemoryUnits = 1_000_000;
const maxMessageChars = 300;

/** No tag that reads another template (`include`, `render`, `layout`, `block`) is defined. */
const tags = `# assign break capture case comment continue cycle decrement echo for if increment liquid raw
  unless`;

/** Without the `…_exp` filters: they parse text as a template, which an issue's text never is. */
const filters = `abs append array_to_sentence_string at_least at_most base64_decode base64_encode capitalize ceil
  cgi_escape compact concat date date_to_long_string date_to_rfc822 date_to_string date_to_xmlschema default
  divided_by downcase escape escape_once find find_index first floor group_by has inspect join json jsonify last
  lstrip map minus modulo newline_to_br normalize_whitespace number_of_words plus pop prepend push raw reject
  remove remove_first remove_last replace replace_first replace_last reverse round rstrip sha256 shift size slice
  slugify sort sort_natural split squish strip strip_html strip_newlines sum times to_integer truncate
  truncatewords uniq unshift upcase uri_escape url_decode url_encode where xml_escape`;

const engine = createEngine();

/**
 * Renders `source` on the calling thread, which a hostile template can block; throws the errors
 * that `renderPrompt` rejects with.
 */
export function fill(source: string, variables: Readonly<Record<string, unknown>>): string {
  const parsed = parse(source);
  try {
    return String(engine.renderSync(parsed, { ...variables }));
  } catch (error) {
    throw templateFault("template_render_error", error);
  }
}

/** A reason why a template cannot be used, with its place in the text; both count from 1. */
export interface TemplateFault {
  readonly code: ErrorCode;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** The filters that templates may use. */
export const filterNames: ReadonlySet<string> = new Set(Object.keys(engine.filters));

/** As `engine`, but an unknown filter is not a fault: it is found later, with its place. */
const lenient = createEngine({ strictFilters: false });

/** What can be parsed of a template, and the first `maxFaults` places that cannot. */
export function templatesIn(
  source: string,
  maxFaults: number,
): { readonly templates: readonly Template[]; readonly faults: readonly TemplateFault[] } {
  const templates: Template[] = [];
  const faults = new Map<string, TemplateFault>();
  const failed = (error: unknown) => {
    const fault = faultOf("template_parse_error", error);
    // The end of a block whose beginning is at fault.
    if (faults.size > 0 && orphan.test(fault.message)) return;
    faults.set(`${fault.line}:${fault.column} ${fault.message}`, fault);
  };
  let tokens: readonly TopLevelToken[] = [];
  try {
    if (source.length > maxTemplateChars)
      throw new Error(`more than ${maxTemplateChars} characters`);
    tokens = new Tokenizer(source).readTopLevelTokens(lenient.options);
  } catch (error) {
    failed(error);
  }
  for (let at = 0; at < tokens.length && faults.size < maxFaults; ) {
    const token = tokens[at++];
    if (!token) break;
    const rest = TypeGuards.isTagToken(token) ? tokens.slice(at) : [];
    const left = rest.length;
    try {
      templates.push(lenient.parser.parseToken(token, rest));
      // A block has consumed what it contains. After a fault inside it, its contents are read one by one.
      at += left - rest.length;
    } catch (error) {
      failed(error);
    }
  }
  return { templates, faults: [...faults.values()] };
}

const orphan = /^tag "(?:end\w+|else|elsif|when)" not found/;

/** The variables that a template uses, as sorted dotted paths; none if it does not parse. */
export function pathsIn(source: string): readonly string[] {
  try {
    const paths = engine.globalVariableSegmentsSync(parse(source));
    return [...new Set(paths.map(dotted))].sort();
  } catch {
    return [];
  }
}

/** The path up to the first index or computed key. */
function dotted(path: readonly unknown[]): string {
  const end = path.findIndex((segment) => typeof segment !== "string");
  return path.slice(0, end === -1 ? path.length : end).join(".");
}

function createEngine({ strictFilters } = { strictFilters: true }): Liquid {
  const liquid = new Liquid({
    strictVariables: true,
    strictFilters,
    ownPropertyOnly: true,
    // Named templates come from this map alone, so no file is ever read.
    templates: {},
    dynamicPartials: false,
    timezoneOffset: 0,
    locale: "en-US",
    parseLimit: maxTemplateChars,
    renderLimit: maxRenderMs,
    memoryLimit: maxMemoryUnits,
  });
  keepOnly(liquid.tags, tags);
  keepOnly(liquid.filters, filters);
  return liquid;
}

function keepOnly(registry: object, names: string): void {
  const kept = new Set(names.split(/\s+/));
  for (const name of Object.keys(registry)) {
    if (!kept.has(name)) Reflect.deleteProperty(registry, name);
  }
}

function parse(source: string): Template[] {
  try {
    return engine.parse(source);
  } catch (error) {
    // LiquidJS reports an unknown filter while parsing; for the user it is the same kind of error
    // as an unknown variable.
    const isFilter = messageOf(error).startsWith("undefined filter:");
    throw templateFault(isFilter ? "template_render_error" : "template_parse_error", error);
  }
}

function templateFault(code: ErrorCode, error: unknown): SymphonyError {
  if (!LiquidError.is(error)) {
    return new SymphonyError(code, faultOf(code, error).message, { cause: error });
  }
  const { line, column, message } = faultOf(code, error);
  const text = `line ${line}, column ${column} of the template: ${message}`;
  return new SymphonyError(code, text, { cause: error, details: { line, column } });
}

function faultOf(code: ErrorCode, error: unknown): TemplateFault {
  if (!LiquidError.is(error)) {
    // Thousands of nested blocks exhaust the stack.
    const message = `the template cannot be used: ${messageOf(error)}`;
    return { code, line: 1, column: 1, message };
  }
  const [line = 1, column = 1] = error.token.getPosition();
  const what = messageOf(error.originalError ?? error).replace(/, line:\d+, col:\d+$/, "");
  return { code, line, column, message: oneLine(what, maxMessageChars) };
}
