'use strict';
const byId = id => document.getElementById(id), rows = JSON.parse(byId('rows').textContent);
const boxes = [...document.querySelectorAll('.card input')], same = new Map();
rows.forEach((row, i) => same.has(row[0]) ? same.get(row[0]).push(i) : same.set(row[0], [i]));
let unsaved = false;
function tick(i, on) { for (const j of same.get(rows[i][0])) boxes[j].checked = on; }   // one photo, one decision
function count() {
  for (const o of document.querySelectorAll('[data-count]')) o.textContent = rows.filter((row, i) => row[1] === o.dataset.count && boxes[i].checked).length;
}
function tickKind(on) {
  rows.forEach((row, i) => { if (row[1] === byId('kind').value && !(on && boxes[i].dataset.stays)) tick(i, on); });
  changed();
}
function changed() { unsaved = true; byId('status').textContent = ''; count(); }
function save() {
  const text = o => /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(o) ? "'" + o : o;   // no formula for a spreadsheet, as `to_cell` has it
  const quote = o => '"' + text(o).replaceAll('"', '""') + '"';
  const lines = rows.map(([path, kind, label, reason], i) => [path, kind, boxes[i].checked ? 'drop' : 'keep', label, reason].map(quote).join(','));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob(['path,kind,decision,label,reason\r\n', ...lines.map(o => o + '\r\n')], {type: 'text/csv'}));
  link.download = 'decisions.csv';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  unsaved = false;
  const n = [...same.values()].filter(o => boxes[o[0]].checked).length;
  byId('status').textContent = `Saved: ${n} of ${same.size} photos to drop. Look for decisions.csv among your downloads.`;
}
document.addEventListener('change', e => { if (e.target.type === 'checkbox') { tick(+e.target.id.slice(1), e.target.checked); changed(); } });
byId('all').addEventListener('click', () => tickKind(true));
byId('none').addEventListener('click', () => tickKind(false));
byId('save').addEventListener('click', save);
addEventListener('beforeunload', e => { if (unsaved) e.preventDefault(); });
document.body.classList.add('scripted');
count();
