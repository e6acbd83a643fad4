/** The style of the status page: system fonts, light and dark, tables that become cards on a narrow screen. */
export const pageStyle = `
:root { color-scheme: light dark; --ink: #1d2330; --soft: #5d6678; --line: #e1e5ec; --paper: #f6f7f9;
  --card: #fff; --accent: #3454d1; --run: #1a7f4b; --wait: #8a5a00; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #2b3240;
  --paper: #12151b; --card: #1a1f28; --accent: #93a8ff; --run: #5fd39a; --wait: #f0b95a; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main, header, footer { max-width: 1280px; margin: 0 auto; padding: 0 20px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; padding-top: 28px; }
h1 { margin: 0; font-size: 22px; letter-spacing: -.01em; }
header p, footer { color: var(--soft); font-size: 13px; }
header p { margin: 0; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
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
@media (max-width: 700px) {
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
