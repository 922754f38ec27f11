"""Pictures and lines of many classes have a bounded size, and the whole confusion matrix is a table"""
import io
import numpy as np, pandas as pd, pytest
from PIL import Image
from animal_clf.core.settings import list_names
from animal_clf.evaluation.checks import find_warnings
from animal_clf.evaluation.evaluate import evaluate
from animal_clf.evaluation.html import figure_png
from animal_clf.evaluation.plots import choose_classes, plot_confusion_matrix
from animal_clf.evaluation.report import _confusion_table
from animal_clf.vision.tsne import plot_points

@pytest.fixture(autouse=True)
def alone(empty_folder): pass

@pytest.fixture(scope='module')
def thousand():
    "Answers for three photos of each of 1,000 classes; the classes 7 and 700 are taken for each other, each photo of 8 for another class"
    rng, k = np.random.default_rng(0), 1000
    truth = np.repeat(np.arange(k), 3)
    answer = truth.copy()
    answer[truth == 7], answer[truth == 700], answer[truth == 8] = 700, 7, [9, 10, 11]
    probabilities = np.full((len(truth), k), .1/(k - 1))
    probabilities[np.arange(len(truth)), answer] = .9
    names = [f'class {i:03}' for i in range(k)]
    table = pd.DataFrame(dict(path=[f'{i}.jpg' for i in range(len(truth))], label=[names[i] for i in truth], sha256=[f'{i:064x}' for i in range(len(truth))]))
    return evaluate(probabilities/probabilities.sum(1, keepdims=True), table, names)

def png_size(plot, *args, **kwargs): return Image.open(io.BytesIO(figure_png(plot, *args, **kwargs))).size

def test_the_confusion_matrix_of_a_thousand_classes(thousand):
    w, h = png_size(plot_confusion_matrix, thousand.metrics)
    assert w*h < 12e6
    ax = plot_confusion_matrix(thousand.metrics)
    names = [o.get_text() for o in ax.get_yticklabels()]
    assert len(names) == 40 and {'class 007', 'class 700', 'class 008'} <= set(names) and ax.get_xticklabels()[-1].get_text() == '960 other classes'
    assert abs(names.index('class 007') - names.index('class 700')) == 1

def test_the_classes_of_the_most_frequent_mistakes():
    confusion = np.diag([9]*50)
    confusion[44, 3], confusion[20, 21] = 5, 2
    assert choose_classes(confusion, 4) == [3, 20, 21, 44] and choose_classes(np.eye(5, dtype=int), 3) == [0, 1, 2] and choose_classes(np.eye(3, dtype=int)) == [0, 1, 2]

def test_nothing_is_lost_in_what_is_drawn(thousand):
    "Each row of the picture has all photos of its class: 3"
    ax = plot_confusion_matrix(thousand.metrics)
    cells = ax.collections[0].get_array().reshape(40, 41)
    assert np.allclose(cells.sum(1), 1)

def test_the_whole_matrix_is_a_table(thousand):
    table = _confusion_table(thousand.metrics)
    assert table.shape == (1000, 1000) and table.loc['class 007', 'class 700'] == 3 and table.to_numpy().sum() == 3000

def test_curves_have_a_bounded_number_of_lines(thousand):
    axes = thousand.plot_roc()
    assert all(len(ax.get_lines()) <= 150 for ax in axes)

def test_warnings_name_ten_classes(thousand):
    for o in find_warnings(thousand): assert o.count('class ') <= 11, o

def test_a_map_of_many_classes():
    labels = np.repeat([f'class {i}' for i in range(500)], 4)
    points = np.random.default_rng(0).normal(size=(2000, 2))
    w, h = png_size(plot_points, points, labels, wrong=np.arange(2000) < 8)
    assert w*h < 3e6

def test_list_names(): assert list_names(range(1000), 2) == '0, 1 and 998 more' and list_names(['a', 'b']) == 'a, b'
