/** The style of the status page: system fonts, light and dark, tables that become cards on a narrow screen. */
export const pageStyle = `
:root { color-scheme: light dark; --ink: #1d2330; --soft: #5d6678; --line: #e1e5ec; --paper: #f6f7f9;
  --card: #fff; --accent: #3454d1; --run: #1a7f4b; --wait: #8a5a00; --bad: #b3261e;
  --string: #16653c; --value: #9a3412; --name: #6b21a8; --call: #0f5f74; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #2b3240;
  --paper: #12151b; --card: #1a1f28; --accent: #93a8ff; --run: #5fd39a; --wait: #f0b95a; --bad: #ff8a80;
  --string: #86e0b0; --value: #ffb38a; --name: #d8b4fe; --call: #8fd3e8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main, header, footer { max-width: 1280px; margin: 0 auto; padding: 0 20px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; padding-top: 28px; }
h1 { margin: 0; font-size: 22px; letter-spacing: -.01em; }
header p, footer { color: var(--soft); font-size: 13px; }
header p { margin: 0; }
a { color: var(--accent); text-decoration: none; }
h2 a, p a, a:hover, a:focus-visible { text-decoration: underline; }
.counts { display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); gap: 10px;
  margin: 20px 0; padding: 0; list-style: none; }
.counts li { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 10px 14px;
  color: var(--soft); font-size: 13px; }
.counts b { display: block; color: var(--ink); font-size: 24px; font-weight: 600; line-height: 1.2;
  font-variant-numeric: tabular-nums; }
.counts .zero b { color: var(--soft); font-weight: 400; }
.counts .running b { color: var(--run); } .counts .blocked b, .counts .retrying b { color: var(--wait); }
.counts .failed b { color: var(--bad); } .counts .zero b { color: var(--soft); }
.alert { border: 1px solid var(--bad); border-left-width: 5px; border-radius: 10px; background: var(--card);
  margin: 12px 0; padding: 10px 14px; overflow-wrap: anywhere; }
.alert b { color: var(--bad); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: 0 0 16px; overflow: hidden; }
h2 { margin: 0; padding: 12px 16px; font-size: 15px; }
h2 span { color: var(--soft); font-weight: 400; }
table { width: 100%; border-collapse: collapse; table-layout: fixed; }
th { color: var(--soft); font-size: 12px; font-weight: 500; text-align: left; }
th, td { padding: 8px 16px; border-top: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th { width: 13%; }
th:first-child { width: 32%; }
th.wide { width: auto; }
td:first-child b { display: block; }
.soft { color: var(--soft); }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.empty { padding: 40px 16px; text-align: center; color: var(--soft); }
footer { padding-bottom: 32px; }
footer nav { display: flex; flex-wrap: wrap; gap: 4px 16px; }
.bar { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 14px; margin: 16px 0; font-size: 13px; }
.badge { border: 1px solid currentColor; border-radius: 20px; padding: 1px 10px; }
.badge.live { color: var(--run); } .badge.wait, .badge.stale { color: var(--wait); } .badge.lost { color: var(--bad); }
.filters { margin-left: auto; display: flex; flex-wrap: wrap; gap: 6px 12px; align-items: center; color: var(--soft); }
@media (pointer: fine) { .filters input, .filters select, .period select { font-size: 14px; } }
.filters input { width: 150px; } .filters label { display: flex; gap: 6px; align-items: center; } .filters input, .filters select { padding: 3px 8px; }
.marks { display: flex; flex-wrap: wrap; gap: 4px 6px; } .mark { border: 1px solid currentColor; border-radius: 20px; padding: 0 8px;
  font-size: 12px; color: var(--soft); } .mark.good { color: var(--run); } .mark.bad { color: var(--bad); } .mark.wait { color: var(--wait); }
blockquote { margin: 8px 0; padding: 2px 12px; border-left: 3px solid var(--line); } blockquote p { margin: 4px 0; }
.plain { margin: 0; padding: 0; list-style: none; font-size: 13px; } .rows .plain li { display: block; border: 0; padding: 0; overflow-wrap: anywhere; }
input, textarea, select, button { font: inherit; font-size: 16px; color: inherit; background: var(--paper); border: 1px solid var(--soft);
  border-radius: 8px; padding: 6px 10px; max-width: 100%; }
button { cursor: pointer; background: var(--card); border-color: var(--accent); color: var(--accent); font-size: 14px; }
button:hover:enabled, button:focus-visible { background: var(--accent); color: var(--card); }
button:disabled { cursor: default; opacity: .55; }
button.danger { border-color: var(--bad); color: var(--bad); }
button.danger:hover:enabled, button.danger:focus-visible { background: var(--bad); color: var(--card); }
button.small { padding: 1px 8px; font-size: 12px; margin-left: 8px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.lane.needs { border-color: var(--wait); border-left-width: 5px; }
.rows, .timeline, .gates { list-style: none; margin: 0; padding: 0; }
.rows li { display: grid; grid-template-columns: minmax(180px, 32%) 1fr; gap: 4px 16px; border-top: 1px solid var(--line); padding: 8px 16px; }
.lane .rows > li:nth-child(n+25) { content-visibility: auto; contain-intrinsic-size: auto 60px; }
.rows p { margin: 0; overflow-wrap: anywhere; }
.issue { display: flex; flex-direction: column; overflow-wrap: anywhere; } .issue a, .issue b { font-weight: 600; }
.prompt { white-space: pre-wrap; overflow-wrap: anywhere; }
.bad, .refused { color: var(--bad); } p.done { color: var(--run); }
.padded { padding: 0 16px 12px; }
.answer, .control { display: flex; flex-direction: column; gap: 6px; align-items: flex-start; }
.answer { margin-top: 8px; }
.buttons { display: flex; flex-wrap: wrap; gap: 8px; }
.line { display: flex; flex-wrap: wrap; gap: 8px; align-items: end; }
.control label, .line label { display: flex; flex-direction: column; gap: 3px; color: var(--soft); font-size: 13px; width: 100%; }
.line label { width: auto; flex: 1 1 220px; } .control textarea, .control input, .control select, .line input { color: var(--ink); width: 100%; }
.answer p, .control p { margin: 0; }
.command { color: var(--soft); font-size: 12px; overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 16px 24px; padding: 0 16px 16px; }
.heading { border: 0; background: none; } .heading h2, .heading .padded { padding-left: 0; } .heading bdi { font-weight: 400; }
.timeline { max-height: 420px; overflow-y: auto; font-size: 13px; }
.timeline li { display: grid; grid-template-columns: 90px 150px 1fr; gap: 10px; border-top: 1px solid var(--line); padding: 4px 16px; }
.timeline time { color: var(--soft); } .timeline b { font-weight: 500; } .timeline span { overflow-wrap: anywhere; }
.gates li { display: grid; grid-template-columns: minmax(150px, 25%) 1fr; gap: 10px; border-top: 1px solid var(--line); padding: 5px 16px; font-size: 13px; }
.gates b { font-weight: 500; } .gates .closed b { color: var(--wait); } .gates .open { color: var(--soft); }
section > details > summary { padding: 6px 16px; cursor: pointer; color: var(--soft); font-size: 13px; }
.diff details { border-top: 1px solid var(--line); } .diff summary { padding: 6px 16px; cursor: pointer; overflow-wrap: anywhere; }
.diff pre { margin: 0; padding: 6px 0; overflow-x: auto; font: 12px/1.5 ui-monospace, monospace; border-top: 1px solid var(--line); }
.diff pre span { display: block; padding: 0 16px; min-width: max-content; }
.diff .add { background: color-mix(in srgb, var(--run) 14%, transparent); } .diff .del { background: color-mix(in srgb, var(--bad) 14%, transparent); }
.diff .hunk { color: var(--accent); }
.diff i { font-style: normal; } .diff i.word { color: var(--accent); } .diff i.text { color: var(--string); } .diff i.value { color: var(--value); }
.diff i.remark { color: var(--soft); } .diff i.name { color: var(--name); } .diff i.call { color: var(--call); }
.plot { display: block; width: 100%; max-width: 760px; padding: 4px 16px 8px; } .plot .axis { stroke: var(--soft); }
.plot .label { fill: var(--soft); font-size: 11px; } .plot .end { text-anchor: end; } .plot .middle { text-anchor: middle; }
.plot polyline { fill: none; stroke-width: 2; stroke-linejoin: round; } .plot .first polyline { stroke: var(--accent); }
.plot .first rect { fill: var(--accent); } .plot .second polyline { stroke: var(--wait); stroke-dasharray: 5 3; }
dialog { background: var(--card); color: var(--ink); border: 1px solid var(--line); border-radius: 10px; padding: 4px 20px 16px; }
dialog::backdrop { background: rgb(0 0 0 / .4); } dialog h2 { padding: 12px 0; } dialog dl div { display: flex; gap: 12px; } dialog dt { min-width: 64px; }
kbd { border: 1px solid var(--line); border-radius: 4px; padding: 0 6px; }
.period { color: var(--soft); font-size: 13px; } .period select { padding: 3px 8px; }
@media (forced-colors: active) { .plot polyline { stroke: CanvasText; } .plot .first rect { fill: CanvasText; } .plot .label { fill: CanvasText; } }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media (max-width: 700px) {
  .rows li, .gates li { grid-template-columns: 1fr; } .timeline li { grid-template-columns: 74px 1fr; } .timeline span { grid-column: 1 / -1; }
  .plot { overflow: visible; } .plot .label { font-size: 18px; }
  .filters { margin-left: 0; width: 100%; } .filters label:last-child { flex: 1; } .filters input { width: 100%; }
  main, header, footer { padding-left: 12px; padding-right: 12px; }
  .counts { grid-template-columns: repeat(3, 1fr); gap: 8px; }
  .counts li { padding: 8px 10px; } .counts b { font-size: 20px; }
  thead { display: none; }
  table, tbody { display: block; }
  tr { display: block; border-top: 1px solid var(--line); padding: 10px 14px; }
  td { display: flex; gap: 10px; border: 0; padding: 2px 0; }
  td::before { content: attr(data-label); flex: 0 0 84px; color: var(--soft); font-size: 13px; }
  td:first-child { display: block; padding-bottom: 6px; }
  td:first-child::before { content: none; }
}
`;
