import type { VNode } from "preact";
import { lanesOf, type State } from "./lanes.ts";
import { html } from "./markup.ts";
import { boardAddress, type Filter } from "./route.ts";
import { rowsOf } from "./rows.ts";

/** Search and filters of the board. What is chosen stands in the address, so that it can be kept and sent. */
export function Filters({ state, filter }: { state: State; filter: Filter }): VNode {
  const lanes = lanesOf(state, Date.now());
  const rows = rowsOf(state);
  const labels = [...new Set(rows.flatMap((row) => row.labels))].sort();
  const agents = [...new Set(state.running.map(({ agent }) => agent))].sort();
  const change = (part: Partial<Filter>) => {
    history.replaceState(null, "", boardAddress({ ...filter, ...part }));
    dispatchEvent(new HashChangeEvent("hashchange"));
  };
  const options = lanes.map(({ name, title }) => ({ value: name, text: title }));
  const choice = (name: "lane" | "label" | "agent", all: readonly Option[]) =>
    html`<${Choice} name=${name} value=${filter[name]} all=${all} change=${(value: string) => change({ [name]: value })} />`;
  return html`<form class="filters" role="search" onSubmit=${(event: Event) => event.preventDefault()}>
    ${choice("lane", options)}
    ${labels.length > 0 && choice("label", labels.map(same))}
    ${(agents.length > 1 || filter.agent !== "") && choice("agent", agents.map(same))}
    <label>Search<input type="search" value=${filter.search} onInput=${(event: InputEvent) => change({ search: (event.target as HTMLInputElement).value })} /></label>
  </form>`;
}

interface Option {
  readonly value: string;
  readonly text: string;
}

const same = (value: string): Option => ({ value, text: value });

interface ChoiceProps {
  readonly name: string;
  readonly value: string;
  readonly all: readonly Option[];
  change(value: string): void;
}

function Choice({ name, value, all, change }: ChoiceProps): VNode {
  // A value of the address that no issue has now is still what is filtered by.
  const known = value === "" || all.some((one) => one.value === value);
  const shown = known ? all : [...all, same(value)];
  return html`<label>${name[0]?.toUpperCase()}${name.slice(1)}<select value=${value} onChange=${(event: Event) => change((event.target as HTMLSelectElement).value)}><option value="">all</option>${shown.map((one) => html`<option key=${one.value} value=${one.value}>${one.text}</option>`)}</select></label>`;
}
