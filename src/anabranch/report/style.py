"""The look of the pages that are written: one sheet, no fonts or pictures from elsewhere, light and dark."""

CSS = """
:root{color-scheme:light dark;
--bg:#f6f8f9;--card:#fff;--ink:#15232d;--dim:#566874;--line:#dde4e8;--soft:#eef2f4;--accent:#0b6e80;
--add:#19703a;--add-bg:#e3f5e9;--add-bar:#3aa663;--del:#b3261e;--del-bg:#fdeae8;--del-bar:#dc5b52;
--mod:#8a5300;--mod-bg:#fdf1dc;--mod-bar:#e2a03f;--same-bar:#cbd5db;--mark-del:#f9c6c1;--mark-add:#b5e6c5;
--shadow:0 1px 2px rgb(16 32 43/.06),0 4px 16px rgb(16 32 43/.05)}
@media(prefers-color-scheme:dark){:root{
--bg:#0f161b;--card:#172027;--ink:#e5edf1;--dim:#9aabb6;--line:#2a3740;--soft:#1e2931;--accent:#5cc6d8;
--add:#7bdc9f;--add-bg:#14301f;--add-bar:#3c9c61;--del:#ff9d94;--del-bg:#391c1a;--del-bar:#cc564c;
--mod:#f3c069;--mod-bg:#37290f;--mod-bar:#c48a2e;--same-bar:#3a4953;--mark-del:#6d2822;--mark-add:#1c5a35;
--shadow:none}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,header.top,footer{max-width:1180px;margin:0 auto;padding:0 24px}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:4px}
code,.mono{font-family:ui-monospace,"SF Mono",SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.88em}
.dim{color:var(--dim)}.skip{position:absolute;left:-9999px}.skip:focus{left:12px;top:12px;background:var(--card);padding:6px 12px}
.only-read{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
header.top{padding-top:36px;padding-bottom:8px}
.brand{display:flex;align-items:center;gap:10px;color:var(--dim);font-size:13px;letter-spacing:.02em}
.brand svg{width:34px;height:20px;color:var(--accent)}
h1{font-size:30px;line-height:1.2;letter-spacing:-.015em;margin:14px 0 12px;font-weight:650;overflow-wrap:anywhere}
.refs{display:flex;flex-wrap:wrap;align-items:center;gap:10px;margin:0 0 8px}
.ref{background:var(--card);border:1px solid var(--line);border-radius:999px;padding:4px 14px;overflow-wrap:anywhere}
.ref small{color:var(--dim);margin-right:8px}
dl.facts{display:flex;flex-wrap:wrap;gap:4px 28px;margin:14px 0 0;font-size:13.5px}
dl.facts div{display:flex;gap:8px;min-width:0}dl.facts dt{color:var(--dim)}dl.facts dd{margin:0;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:14px;margin:24px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:14px 18px;box-shadow:var(--shadow)}
.tile b{display:block;font-size:27px;line-height:1.25;font-weight:650;letter-spacing:-.01em;font-variant-numeric:tabular-nums}
.tile span{color:var(--dim);font-size:13px}
.tile.add b{color:var(--add)}.tile.del b{color:var(--del)}.tile.mod b{color:var(--mod)}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;box-shadow:var(--shadow);margin:0 0 22px;overflow:hidden}
.card>.inside{padding:18px 22px 22px}
h2{font-size:20px;margin:0;letter-spacing:-.01em;font-weight:640;overflow-wrap:anywhere}
h3{font-size:12.5px;text-transform:uppercase;letter-spacing:.06em;color:var(--dim);margin:24px 0 8px;font-weight:600}
.head{display:flex;flex-wrap:wrap;align-items:center;gap:8px 12px}
.head .rows{margin-left:auto;font-variant-numeric:tabular-nums;color:var(--dim);font-size:14px}
.meta{color:var(--dim);font-size:12.5px;margin:6px 0 14px;overflow-wrap:anywhere}
.badge{display:inline-block;border-radius:6px;padding:1px 8px;font-size:12.5px;font-weight:600;white-space:nowrap;background:var(--soft);color:var(--dim)}
.badge.add{background:var(--add-bg);color:var(--add)}.badge.del{background:var(--del-bg);color:var(--del)}.badge.mod{background:var(--mod-bg);color:var(--mod)}
.note{background:var(--mod-bg);color:var(--mod);border-radius:8px;padding:8px 12px;font-size:13.5px;margin:12px 0}
.bar{display:flex;gap:2px;height:10px;min-width:90px;border-radius:5px;overflow:hidden;background:var(--soft)}
.bar i{min-width:4px;display:block}.bar.thin{height:8px}
.i-add{background:var(--add-bar)}.i-del{background:var(--del-bar)}.i-mod{background:var(--mod-bar)}.i-same{background:var(--same-bar)}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;margin:8px 0 0;padding:0;list-style:none;font-size:13.5px;font-variant-numeric:tabular-nums}
.legend i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:7px}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:10px}
.scroll.bare{border:0}.meta.last{margin:16px 0 0}
.scroll:focus-visible{outline-offset:0}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th{text-align:left;font-weight:600;color:var(--dim);font-size:12.5px;white-space:nowrap}
th,td{padding:7px 12px;border-bottom:1px solid var(--line);vertical-align:top}
tbody tr:last-child>*{border-bottom:0}
td.num,th.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
table.overview td{vertical-align:middle;padding:10px 12px}table.overview td:first-child,table.overview th:first-child{padding-left:22px}
table.overview td:last-child,table.overview th:last-child{padding-right:22px}table.overview .wide{width:30%}
table.overview td:first-child{min-width:150px}table.overview a{font-weight:600;overflow-wrap:anywhere}
.n-add{color:var(--add)}.n-del{color:var(--del)}.n-mod{color:var(--mod)}.zero{color:var(--dim);opacity:.6}
ul.schema{list-style:none;margin:0;padding:0;display:grid;gap:5px}
ul.schema li{display:flex;flex-wrap:wrap;gap:4px 10px;align-items:baseline}
.sign{display:inline-block;width:22px;height:20px;line-height:20px;text-align:center;border-radius:5px;font-weight:700;font-size:13px;background:var(--soft);color:var(--dim)}
.sign.add{background:var(--add-bg);color:var(--add)}.sign.del{background:var(--del-bg);color:var(--del)}.sign.mod{background:var(--mod-bg);color:var(--mod)}
table.columns{max-width:760px}table.columns td{border:0;padding:3px 12px 3px 0;vertical-align:middle}
table.columns th{border:0;padding:3px 12px 3px 0;color:var(--ink);font-size:13.5px;white-space:normal;overflow-wrap:anywhere;min-width:96px;max-width:260px}
table.columns td.wide{width:55%}
table.sample td{font-family:ui-monospace,"SF Mono",SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:12.5px;max-width:340px;overflow-wrap:anywhere;white-space:pre-wrap;min-width:56px}
table.sample th.side{position:sticky;left:0;background:var(--card);width:1%;border-right:1px solid var(--line)}
table.sample thead th{background:var(--soft)}table.sample th.key{color:var(--ink)}table.sample th.key::after{content:" key";font-weight:400;color:var(--dim)}
table.sample tr.pair.after>*{padding-top:3px}
table.sample tr.before th.side{color:var(--del)}table.sample tr.pair.before>*{border-bottom:0;padding-bottom:3px}table.sample tr.after th.side{color:var(--add)}
table.sample td.off{background:var(--mark-del)}table.sample td.on{background:var(--mark-add)}
table.sample td.quiet{color:var(--dim)}
.null{font-style:italic;color:var(--dim);opacity:.85}
table.summary td{font-variant-numeric:tabular-nums;overflow-wrap:anywhere;max-width:210px}
table.summary tbody th{color:var(--ink);font-size:13.5px;white-space:normal;overflow-wrap:anywhere}
table.summary .was{color:var(--dim);display:block}table.summary .differs .now{font-weight:600}
table.summary .now{display:block}table.summary .differs{background:var(--mod-bg)}
svg.gantt{display:block;width:100%;min-width:720px;height:auto;font-size:12px}
.gantt .grid{stroke:var(--line)}.gantt .tick,.gantt .lane{fill:var(--dim)}.gantt .in{fill:#fff;font-weight:600;font-size:11.5px}
.gantt .b-add{fill:var(--add-bar)}.gantt .b-del{fill:var(--del-bar)}.gantt .b-mod{fill:var(--mod-bar)}.gantt .b-same{fill:var(--same-bar)}
.gantt .path{stroke:var(--ink);stroke-width:2}.gantt .b-same~.in{fill:var(--ink)}.gantt .b-add~.in,.gantt .b-mod~.in{fill:#0b1a10}
.i-path{border:2px solid var(--ink)}.badge.path{margin-left:8px;border:1px solid var(--dim)}
table.steps tbody th{color:var(--ink);font-size:13.5px}table.steps td:last-child{min-width:220px;overflow-wrap:anywhere}
details>summary{cursor:pointer;color:var(--accent);font-size:14px;padding:2px 0}
ul.names{columns:220px;margin:10px 0 0;padding-left:18px;font-size:13.5px}ul.names li{overflow-wrap:anywhere}
footer{padding-top:6px;padding-bottom:40px;color:var(--dim);font-size:13px}
@media(max-width:640px){main,header.top,footer{padding-left:14px;padding-right:14px}.card>.inside{padding:14px}.head .rows{margin-left:0;width:100%}h1{font-size:24px}
table.overview .wide,table.columns td:last-child{display:none}}
@media print{body{background:#fff}.card,.tile{box-shadow:none;break-inside:avoid}.scroll{overflow:visible}}
"""

LOGO = (
    '<svg viewBox="0 0 34 20" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" '
    'aria-hidden="true"><path d="M1 10h7c5 0 5-7 10-7h1c4 0 4 7 8 7h6"/>'
    '<path d="M8 10c5 0 5 7 10 7h1c4 0 4-7 8-7" opacity=".55"/></svg>'
)
