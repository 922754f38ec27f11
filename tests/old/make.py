"""Made the files beside it, once, with the code of commit 8ca4ff5: the last one before the package was divided into folders

They stand for what users have on their disks: `test_old_files.py` shows that today's code reads them as that code did. They are not to
be made again, and today's code can't: it has other modules. How they were made, with the packages that model/model.json tells of:

    git worktree add /tmp/base 8ca4ff5
    cd $(mktemp -d)                                    # all paths are relative to it, so none of that machine is in the tables
    PYTHONPATH=/tmp/base:/tmp/base/tests ANIMAL_CLF_CACHE=cache CUDA_VISIBLE_DEVICES= python .../tests/old/make.py
    cp -r model data older killed expected.json .../tests/old/

- model/: a tiny network, trained from scratch on drawn pictures and tested, after another one in the same folder; of report/ the table and
  the JSON are kept, not the page and the plots
- data/: photos collected by way of a proxy that plays the internet; one was deleted since, three were set aside as `clean` does it, and
  one of these put back; to keep it small, raw/, the set-aside copy and the broken file were left out
- older/: the same manifest without the columns `time` and `phash`, which the old code reads too; made of the other one, not by older code
- killed/: a manifest with a journal as it is when a run is killed that sets a photo aside
- expected.json: what the old code said about all this. `retry` lists the addresses of failed rows that may be tried again; `undone` has the
  counts after `clean --undo`, `again` what `download` says where there is enough already; `answers` and `nearest` are about `asked`
"""
import csv, json, os, shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from servers import PhotoServer, dripping, hanging_up, serving

import animal_clf.manifest
from animal_clf.cli import main
from animal_clf.decisions import drop_photos, restore_photos
from animal_clf.download import collect, download
from animal_clf.fetch import Limits, may_work_later
from animal_clf.learner import count_tests, load_model, read_info, read_log
from animal_clf.manifest import Journal, count_rows, new_row, read_manifest, set_aside, write_manifest
from animal_clf.predict import predict_photos
from animal_clf.sample import draw_sample
from animal_clf.side_by_side import read_report
from animal_clf.test_set import fingerprint_photos

model, data, older, killed = map(Path, ('model', 'data', 'older', 'killed'))
classes = ['blue whale', 'fox', 'zebra']

def shell(*args):
    "What `animal-clf ARGS` prints"
    with redirect_stdout(out := StringIO()): assert main([str(o) for o in args]) == 0
    return out.getvalue()


# --- a model

def make_model():
    "Two models one after the other, so that the second knows of the test of the first"
    draw_sample('drawn', 40, classes, px=160)
    Path('groups.csv').write_text('class,group\nblue whale,sea\nfox,land\nzebra,land\n')
    for seed,epochs in ((1, 1), (42, 12)):
        how = ('--recipe', 'scratch', '--arch', 'test_efficientnet', '--epochs', epochs, '--seed', seed, '--batch-size', 8, '--workers', 0)
        shell('train', '--data', 'drawn', *how, '--groups', 'groups.csv', '--out', model)
        print(shell('evaluate', model, '--data', 'drawn'))
    for o in (model/'report').iterdir():
        if o.name not in ('report.json', 'answers.csv'): o.unlink()

def ask_model():
    "What the model, and what is noted beside it, say; one of the photos shows none of its classes"
    info, report, log, learn = read_info(model), read_report(model), read_log(model), load_model(model)
    photos = sorted(draw_sample('asked', 1, [*classes, 'gorilla'], px=160, seed=7).glob('*/*.jpg'))
    answers = [dict(photo=o.parent.name, label=row['label'], probabilities=dict(row['top']), known=row['known'])
               for o,row in zip(photos, predict_photos(learn, photos))]
    shutil.move('drawn', 'gone')   # as for whoever gets a model without its photos
    nearest = [{name: share for name,share,_ in o['nearest']} for o in json.loads(shell('lookalike', model, *photos, '--json'))]
    test = fingerprint_photos(report.answers)
    names = ('classes', 'arch', 'seed', 'recipe', 'temperature', 'valid_accuracy', 'lookalike', 'groups', 'data')
    return dict(info={k: getattr(info, k) for k in names}, log=log.valid_loss.tolist(), test_photos=test, n_tests=count_tests(info, test),
                report=report.line(), answers=answers, nearest=nearest)


# --- a data set

def routes():
    "What the proxy answers, by address"
    pictures = [o.read_bytes() for o in sorted(draw_sample('photos', 4, ['fox', 'seal'], px=64).glob('*/*.jpg'))]
    found = {f'{name}{i}': pictures.pop(0) for name in ('fox', 'seal') for i in (1, 2, 3, 4)}
    found |= dict(copy=found['fox1'], broken=found['fox2'][:700], busy=503, away='http://10.0.0.1/fox.jpg', hang=hanging_up,
                  drip=dripping(found['fox1']), page=lambda h: h.answer('<!DOCTYPE html>log in'),
                  own=lambda h: h.answer(found['fox4'], content_type='image/jpeg', X_Robots_Tag='noai, noimageai'))
    return {address(k): o for k,o in found.items()}

fox = ['fox1', 'copy', 'broken', 'gone', 'busy', 'own', 'away', 'hang', 'page', 'drip', 'http://192.168.1.7/fox.jpg',
       'http://unknown.invalid/fox.jpg', 'ftp://photos.example/fox.jpg', 'fox2', 'fox3', 'fox4', 'later']
seal = ['seal1', 'seal2', 'later']
def address(name): return name if ':' in name else f'http://photos.example/{name}.jpg'

def find(term):
    "Stands for a search service"
    titles = {'fox1': 'Füchse, "zwei"; 狐\nim Schnee'}
    yield [dict(query=term, url=address(o), page='https://pages.example/1', title=titles.get(o, o), engine='bing')
           for o in (fox if term.startswith('fox') else seal)]

def make_data():
    "Rows of every kind: kept, failed, set aside, missing, found and fetched"
    limits = Limits(tries=1, photo_s=2, workers=1)
    with serving(PhotoServer()) as server:
        server.routes = routes()
        os.environ.update(http_proxy=server.url, no_proxy='unknown.invalid', NO_PROXY='unknown.invalid')
        collect(['fox', 'seal'], 4, data, px=64, search=find, limits=limits)
        download([{'class': 'seal', 'url': address('seal3')}], data, limits)
    for o in read_manifest(data):
        if o['url'] == address('seal2'): [(data/o[k]).unlink() for k in ('raw', 'path')]
    never = [new_row(**{'class': o, 'url': address('never'), 'status': 'found'}) for o in ('fox', 'seal')]
    write_manifest(read_manifest(data) + never, data)
    collect(['fox', 'seal'], 1, data, search=find)   # both have enough, and it is seen that a photo is missing
    paths = [o['path'] for o in read_manifest(data) if o['class'] == 'fox' and o['status'] == 'kept']
    drop_photos(decide(paths[1:3]), data)
    restore_photos(data, paths[1:2])
    drop_photos(decide(paths[3:], 'quality'), data)
    for o in ('raw', 'set-aside/duplicate', 'set-aside/unreadable'): shutil.rmtree(data/o)

def decide(paths, kind='label'):
    import pandas as pd
    return pd.DataFrame([dict(path=o, kind=kind, decision='drop', label='fox', reason='rather a dog') for o in paths])

def make_older():
    older.mkdir()
    with open(data/'manifest.csv', newline='', encoding='utf-8') as f: rows = list(csv.DictReader(f))
    with open(older/'manifest.csv', 'w', newline='', encoding='utf-8') as f:
        table = csv.DictWriter(f, [o for o in rows[0] if o not in ('time', 'phash')], extrasaction='ignore')
        table.writeheader()
        table.writerows(rows)

def make_killed():
    "The move that a journal has told of is not made, and the next line is torn"
    rows = [new_row(**{'class': 'fox', 'url': address(o), 'status': 'found'}) for o in ('fox1', 'fox2', 'fox3')]
    rows[0] |= dict(path='photos/fox/1.jpg', status='kept')
    (killed/'photos'/'fox').mkdir(parents=True)
    shutil.copy(next((data/'photos'/'fox').iterdir()), killed/'photos'/'fox'/'1.jpg')
    write_manifest(rows[:2], killed)
    animal_clf.manifest._move = lambda *args: None
    with Journal(killed) as journal:
        journal.add(rows[1] | dict(status='failed', reason='HTTP 404 Not Found', http_status=404, time='2026-11-25T00:00:00+00:00'))
        journal.add(rows[2])
        set_aside(rows[0], killed, 'label', 'rather a dog', journal)
    with open(killed/'manifest.journal', 'a') as f: f.write('[["fox", "http://photos.exam')

def read_data(folder):
    "What a manifest amounts to"
    rows = read_manifest(folder)
    again = {name: [o['url'] for o in rows if o['status'] == 'failed' and may_work_later(o['reason'], o['http_status'], Limits(**limits))]
             for name,limits in (('usual', {}), ('no opt-out', dict(opt_out=False)), ('private', dict(private=True)))}
    return dict(counts=count_rows(rows), retry=again)

def undo():
    "What the manifest says when all is put back"
    shutil.copytree(data, 'undone')
    shell('clean', 'undone', '--undo')
    return count_rows(read_manifest('undone'))

def collect_again():
    "What `animal-clf download` says when there is enough already; it fetches nothing"
    shutil.copytree(data, 'again')
    return json.loads(shell('download', '--classes', 'fox', 'seal', '-n', 1, '--out', 'again', '--json'))['classes']


if __name__ == '__main__':
    make_data(); make_older(); make_killed()
    expected = dict(data=read_data(data) | dict(undone=undo(), again=collect_again()), older=read_data(older), killed=read_data(killed))
    make_model()
    expected['model'] = ask_model()
    Path('expected.json').write_text(json.dumps(expected, indent=1, ensure_ascii=False), encoding='utf8')
