// What the form of `animal-clf app` can't do by itself: drop, paste, ask without a new page, and "Why?" afterwards
'use strict';
const form = document.getElementById('form'), answers = document.getElementById('answers'), ask = document.getElementById('ask');
const inputs = [...form.querySelectorAll('input[type=file]')], most = Number(form.dataset.photos), largest = Number(form.dataset.bytes);
const status = document.getElementById('status');
let count = 0;

document.getElementById('hint').hidden = false;

function say(text, kind = 'busy') {   // read aloud when the text changes; what stands on the page anyway is only read
  status.setAttribute('role', kind === 'error' ? 'alert' : 'status');
  status.classList.toggle('quiet', kind === 'done');
  status.textContent = text;
}

async function post(path, body) {   // the HTML that comes back; a busy app is asked again
  for (let round = 0; ; round++) {
    let reply;
    try { reply = await fetch(path, {method: 'POST', body}); }
    catch { throw new Error('The app does not answer. Is it still running?'); }
    const text = await reply.text();
    if (reply.ok) return new DOMParser().parseFromString(text, 'text/html').body;
    if (![429, 503].includes(reply.status) || round === 4) throw new Error(new DOMParser().parseFromString(text, 'text/html').body.textContent.trim() || `The app answered ${reply.status}.`);
    say('Others are being answered; yours are next …');
    await new Promise(done => setTimeout(done, 1000*(Number(reply.headers.get('Retry-After')) || 1)*(1 + round)));
  }
}

function addWhy(card, name, value) {   // a button that asks again, for the heat
  const place = card.querySelector('.why');
  if (!place || place.firstElementChild) return;
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = 'Why?';
  button.setAttribute('aria-label', `Why? Show where the model looks in ${card.querySelector('h3').textContent}`);
  button.addEventListener('click', async () => {
    button.disabled = true;
    say('Looking where …');
    const body = new FormData();
    body.append(name, value);
    try {
      place.replaceChildren(...(await post('/why', body)).childNodes);
      say(place.querySelector('img')?.alt || place.textContent, 'done');
    } catch (error) { button.disabled = false; say(error.message, 'error'); }
  });
  place.append(button);
}

async function send(body, sources) {   // sources: [name, value] of each photo
  ask.disabled = true;
  say(sources.length === 1 ? 'Looking at the photo …' : `Looking at ${sources.length} photos …`);
  try {
    const cards = [...(await post('/answers', body)).querySelectorAll('article')];
    cards.forEach((card, i) => {
      const heading = card.querySelector('h3');
      heading.id = `asked${++count}`;
      card.setAttribute('aria-labelledby', heading.id);
      addWhy(card, ...sources[i]);
    });
    answers.querySelector('h2').after(...cards);
    say(cards.map(card => card.dataset.said).join('; '), 'done');
    cards[0].scrollIntoView({block: 'nearest'});
  } catch (error) { say(error.message, 'error'); }
  ask.disabled = false;
}

function sendFiles(files) {
  const large = files.find(file => file.size > largest);
  if (!files.length) return say('Choose a photo first.', 'error');
  if (files.length > most) return say(`${files.length} photos are too many at once; up to ${most} are answered.`, 'error');
  if (large) return say(`${large.name} is too large: ${Math.ceil(large.size/1e6)} MB, up to ${Math.floor(largest/1e6)} MB are read.`, 'error');
  const body = new FormData();
  for (const file of files) body.append('photos', file, file.name || 'photo');
  if (form.elements.explain.checked) body.append('explain', 'on');
  return send(body, files.map(file => ['photos', file]));
}

function sendChosen() {
  const files = inputs.flatMap(input => [...input.files]);
  for (const input of inputs) input.value = '';
  return sendFiles(files);
}

form.addEventListener('submit', event => {
  event.preventDefault();
  if (event.submitter?.name !== 'example') return sendChosen();
  const body = new FormData(), value = event.submitter.value;
  body.append('example', value);
  if (form.elements.explain.checked) body.append('explain', 'on');
  send(body, [['example', value]]);
});
for (const input of inputs) input.addEventListener('change', () => { if (input.files.length) sendChosen(); });

addEventListener('dragover', event => { event.preventDefault(); form.classList.add('over'); });
addEventListener('dragleave', event => { if (!event.relatedTarget) form.classList.remove('over'); });
addEventListener('drop', event => {
  event.preventDefault();
  form.classList.remove('over');
  sendFiles([...event.dataTransfer.files]);
});
addEventListener('paste', event => {
  const files = [...event.clipboardData.files];
  if (files.length) { event.preventDefault(); sendFiles(files); }
});
