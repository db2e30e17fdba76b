/* What the recording beside this is of: a little of everything. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };

static char *map(int pages, int prot, int flags, int file)
{
	return mmap(NULL, pages * PAGE, prot, flags, file, 0);
}

static void child(void)
{
	munmap(map(2, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1), PAGE);
	_exit(7);
}

int main(int argc, char **argv)
{
	int file = open("/proc/self/exe", O_RDONLY);
	char *at = map(4, PROT_READ, MAP_PRIVATE, file);

	mprotect(at + PAGE, PAGE, PROT_READ | PROT_EXEC);
	munmap(at + 3 * PAGE, PAGE);
	munmap((char *)1, PAGE);
	sbrk(5 * PAGE);
	at = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	at = mremap(at, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
	madvise(at + 2 * PAGE, PAGE, MADV_DONTFORK);
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, PAGE, "first");
	map(3, PROT_READ | PROT_WRITE, MAP_SHARED, memfd_create("a\nb", 0));
	if (fork() == 0)
		child();
	wait(NULL);
	mlockall(MCL_CURRENT);
	if (argc == 1)
		execl(argv[0], argv[0], "again", NULL);
	return 3;
}
