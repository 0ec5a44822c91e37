"""A client of Kubeflow Pipelines for any compiled pipeline: submit, follow, cancel and schedule runs.

It uses the services of `kfp_server_api` instead of `kfp.Client`. That one waits forever for a silent server, takes a
proxy's login page for an answer in which every field is empty, prints tracebacks for a minute when the server is away,
and reads its token once.

    server = Server("https://kubeflow.example.org/pipeline", token=Path("token.txt"), namespace="ann")
    client = connect(server)
    target = prepare(client, package, "an experiment")
    run_id, name = start(client, package, target, "a service account", plugins={})
    state = follow(client, run_id, minutes=None, say=print)
"""
