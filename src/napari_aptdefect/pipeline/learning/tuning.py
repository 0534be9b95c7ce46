"""Search for parameters of network and training on the validation wires (Optuna), in short trainings that are kept."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.pipeline.benchmark.pool import run_tasks
from napari_aptdefect.pipeline.benchmark.tasks import Results
from napari_aptdefect.pipeline.learning.course import N_CLASSES, CourseParams, Timetable, labeled_cloud, scaling_of
from napari_aptdefect.pipeline.learning.inputs import feature_sets
from napari_aptdefect.pipeline.learning.lessons import lesson_task, load_lesson, make_lesson
from napari_aptdefect.stage import Params, Progress, Stage, param, scaled

if TYPE_CHECKING:
    import optuna


class TuningParams(Params):
    """How long the trainings of the search are."""

    lessons: int = param(
        60, title="Lessons", description="Wires with defects that a trial learns from.", unit="wires", ge=1, le=100_000
    )
    epochs: int = param(4, title="Epochs", description="Passes over them.", unit="epochs", ge=1, le=10_000)


def tuned(
    params: CourseParams | None = None,
    search: TuningParams | None = None,
    *,
    n_trials: int,
    work: Path,
    seed: int = 0,
    n_jobs: int = 1,
) -> Stage[CourseParams]:
    """Find parameters that do best on the validation wires.

    Parameters
    ----------
    params
        Parameters to start from, which are the first trial; the defaults when None.
    search
        How long each training is.
    n_trials
        Trials in all, those of earlier calls included.
    work
        Folder that keeps lessons and trials: another call goes on where one was stopped.
    seed
        Seed of the search and of all trainings.
    n_jobs
        Number of processes that make lessons.

    Yields
    ------
    `Progress` of 100; closing the generator keeps all whole trials.

    Returns
    -------
    The parameters of the best trial.

    Raises
    ------
    ParameterError
        If there shall be no trial, or the trials in `work` started from other parameters.

    Notes
    -----
    Tree-structured Parzen estimator (Bergstra et al. 2011, NIPS 24) of Optuna. What is made large is the macro-F1 over
    the ions of the validation wires at the best epoch. Learning rate, weights of classes and of the overlap loss,
    dropout, width and depth are searched; test wires take no part.
    """
    import optuna

    if n_trials < 1:
        raise ParameterError(f"the search needs one trial at least, got {n_trials}")
    params, search = params or CourseParams(), search or TuningParams()
    wires = Timetable.of(params.lessons.model_copy(update={"lessons": search.lessons}))
    results = Results(work / "tasks")
    tasks = [lesson_task(one) for one in wires.train + wires.validation]
    yield from scaled(run_tasks(tasks, results, make_lesson, n_jobs), 0, 20)
    yield Progress(20, 100, "search: read the lessons")
    files = [results.path(task) for task in tasks]
    scaling = scaling_of(files[: len(wires.train)])
    clouds = [labeled_cloud(load_lesson(path), scaling) for path in files]
    train_on, validate_on = clouds[: len(wires.train)], clouds[len(wires.train) :]
    sets = feature_sets(load_lesson(files[0]).names)
    study = _study(work / "trials.log", params, search, seed)
    done = _complete(study)
    while len(done) < n_trials:
        trial = study.ask()
        chosen = _suggested(trial, params)
        share = 80 / n_trials
        start = 20 + share * len(done)
        score = yield from scaled(_score(chosen, search, train_on, validate_on, sets, seed), start, start + share)
        study.tell(trial, score)
        done = _complete(study)
    return _suggested(optuna.trial.FixedTrial(study.best_trial.params), params)


def _score(
    params: CourseParams, search: TuningParams, train_on: Any, validate_on: Any, sets: Any, seed: int
) -> Stage[float]:
    """Macro-F1 over the validation wires after a short training."""
    from napari_aptdefect.apt.network.training import train

    training = params.training.model_copy(update={"epochs": search.epochs, "patience": search.epochs})
    trained = yield from train(train_on, validate_on, sets, N_CLASSES, params.network, training, seed=seed)
    return float(trained.history[:, 1].max())


def _study(path: Path, params: CourseParams, search: TuningParams, seed: int) -> optuna.Study:
    """The study in a file, begun with the given parameters."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Optuna calls experimental
        storage = JournalStorage(JournalFileBackend(str(path)))
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=storage,
            study_name="course",
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=5),
        )
    what = {"params": params.model_dump_json(), "search": search.model_dump_json(), "seed": seed}
    if study.user_attrs and study.user_attrs != what:
        raise ParameterError(
            f"{path} holds a search that began with other parameters; delete it, or choose another folder"
        )
    if not study.user_attrs:
        for name, value in what.items():
            study.set_user_attr(name, value)
        study.enqueue_trial(
            {
                "learning_rate": params.training.learning_rate,
                "balance": params.training.balance,
                "overlap": params.training.overlap,
                "dropout": params.network.dropout,
                "width": params.network.width,
                "n_layers": params.network.n_layers,
            }
        )
    return study


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Whole trials; one that was interrupted is not told of, and is made again."""
    import optuna

    found: list[optuna.trial.FrozenTrial] = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    return found


def _suggested(trial: optuna.trial.BaseTrial, params: CourseParams) -> CourseParams:
    """Parameters of a trial; what the caller chose outside of the grid of the search is kept among the choices."""
    network, training = params.network, params.training
    widths = sorted({32, 48, 64, network.width})
    depths = sorted({2, 3, 4, network.n_layers})
    return params.model_copy(
        update={
            "training": training.model_copy(
                update={
                    "learning_rate": trial.suggest_float("learning_rate", 1e-4, 3e-2, log=True),
                    "balance": trial.suggest_float("balance", 0.0, 1.0),
                    "overlap": trial.suggest_float("overlap", 0.0, 2.0),
                }
            ),
            "network": network.model_copy(
                update={
                    "dropout": trial.suggest_float("dropout", 0.0, 0.5),
                    "width": trial.suggest_categorical("width", widths),
                    "n_layers": trial.suggest_categorical("n_layers", depths),
                }
            ),
        }
    )
