"A program that pretrains and kills itself at a moment: MOMENT:NUMBER, then the stage's arguments as JSON."
import itertools, json, os, signal, sys
import attiqa.pretrain as stage
import attiqa.training as training

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

def after_step(number):
    "After so many steps."
    whole = training.Checkpoint.after_batch
    def after_batch(self):
        whole(self)
        if self.training and self.train_iter == number: die()
    training.Checkpoint.after_batch = after_batch

def while_writing(number):
    "Half way through writing the n-th checkpoint."
    whole, count = training.save_file, itertools.count(1)
    def save_file(tensors, path, metadata):
        whole(tensors, path, metadata)
        if next(count) != number: return
        os.truncate(path, os.path.getsize(path)//2)
        die()
    training.save_file = save_file

def while_validating(epoch):
    "In the held-out part of an epoch."
    training.LogFile.before_validate = lambda self: die() if self.epoch == epoch else None

def before_saving(_):
    "Trained, not yet saved."
    stage.save_model = die

MOMENTS = dict(step=after_step, write=while_writing, validate=while_validating, end=before_saving)

if __name__ == "__main__":
    moment, number = sys.argv[1].split(":")
    MOMENTS[moment](int(number))
    stage.pretrain(**json.loads(sys.argv[2]))
