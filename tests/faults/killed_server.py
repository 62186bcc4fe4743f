"""Drill G37: the MLflow server is killed and restarted, during a training and while the rest is sent at its end."""

import time

from tests.faults.matrix import Measured, Stage, row
from tests.faults.mlflow_server import MlflowServer
from tests.faults.tracked_training import Training, delivery
from tests.faults.tracking import sync


@row(
    "G37",
    "the MLflow server is killed (SIGKILL) and restarted, several times during a training and then while the rest is sent",
    "the training ends with exit code 0 or its signal's; in the end every point, image and model is there once",
    nightly=True,
)
def server_killed(stage: Stage) -> Measured:
    folder = stage.folder / "server"
    folder.mkdir()
    server = MlflowServer(folder)
    uri = f"http://127.0.0.1:{server.port}"
    training = Training(stage, uri, "g37", epochs=20000, samples=200)
    kills = stage.times(1, 3)
    for _ in range(kills):
        sent = training.sent
        training.until(lambda sent=sent: training.sent > sent + 3000)
        server.stop()
        time.sleep(stage.random.uniform(0, 3))
        server = MlflowServer(folder, server.port)
    sent = training.sent
    training.until(lambda: training.sent > sent)
    server.stop()
    code = training.stop()  # its sender cannot send the end
    first = sync(training).returncode
    server = MlflowServer(folder, server.port)
    again = sync(training)
    found = delivery(server, training.run_dir)
    server.stop()
    named = training.names_sync
    return Measured(
        f"killed {kills} times during the training and once before its end: exit code {code}, the command to send later "
        f"named {named}; sync without a server: exit code {first}; with it: {again.returncode}, {found}, images wrong "
        f"{found.images_wrong}, models {found.models}",
        (code, first, again.returncode) == (143, 2, 0) and named and found.exact,
    )
