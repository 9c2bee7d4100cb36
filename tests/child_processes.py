"Processes that tests start and that must end."
import multiprocessing, time

LIMIT = 300 # seconds until something counts as hanging

def exit_codes(processes):
    "What started processes end with; one that hangs is killed and gives None."
    until = time.monotonic() + LIMIT
    for process in processes: process.join(max(0, until - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes: process.kill()
    return codes

def exit_code(start, function, *arguments):
    "What a process ends with that is started by fork or spawn and calls a function."
    process = multiprocessing.get_context(start).Process(target=function, args=arguments)
    process.start()
    return exit_codes([process])[0]
